"""Every cause that a verdict can name: a question that leads on, and a hint. Never the line to write."""

from typing import NamedTuple


class Cause(NamedTuple):
    question: str
    hint: str


CAUSES = {
    # -- no result to judge
    "not-written": Cause(
        "Which shape must the result have?", "Start with an array of zeros in the shape of the result."
    ),
    "missing": Cause("Is the function's name spelt as in the stub?", "The grader calls functions by their names."),
    "syntax": Cause("What does Python expect at this line?", "Often the line above lacks a bracket or a colon."),
    "import": Cause("Which modules does the lab need?", "Remove the import: NumPy is all that a solution needs."),
    "raises": Cause(
        "Which shapes meet in this line?",
        "Print the shapes of everything in the line, and compare them with the shapes in the specification.",
    ),
    "exits": Cause("Which line ends Python?", "Let the function return its result, and nothing end the program."),
    "crashes": Cause("What reaches beyond NumPy?", "Use NumPy's functions alone."),
    "hangs": Cause("When does each loop end?", "Count by hand how often each loop runs in the smallest case."),
    # -- a result of the wrong kind
    "wrong-type": Cause(
        "What does the specification return?", "One result is an array, several are a tuple of arrays."
    ),
    "wrong-dtype": Cause("Which dtype has the array that you fill?", "np.zeros takes a dtype; its default is float64."),
    "wrong-shape": Cause(
        "Which size does each axis have in the specification?", "Print the shape before returning it."
    ),
    "not-cropped": Cause(
        "Whose gradient is asked for, that of x or of xp?", "The border was added by you: take it off."
    ),
    "crop-empty": Cause(
        "From where to where does the slice run?", "With pad = 0, up to -pad is up to 0. Count the end from the front."
    ),
    "exchanged": Cause(
        "In which order are the results returned?", "dx is first, as x is the first of the two arguments."
    ),
    "input-changed": Cause("Which array does your function write to?", "Write only to arrays that you have made."),
    "not-finite": Cause("Which line makes the first nan or inf?", "Nothing is divided here, and nothing overflows."),
    "precision": Cause(
        "Which dtype do your arrays have?", "An array made as float32 keeps 7 digits of what it is given."
    ),
    # -- not the right kind of function
    "state-kept": Cause("What lives on after the function has returned?", "Make every array inside the function."),
    "beyond-the-array": Cause(
        "Where does the last element of the view lie?", "as_strided does not check where the array ends."
    ),
    "same-array": Cause("Are these two arrays, or two names for one?", "b = a gives an array a second name."),
    "not-started-at-zero": Cause(
        "What does the array hold before the first sum?", "np.empty holds what was there, a copy what was copied."
    ),
    "wrong-array": Cause(
        "Which two factors has each product of the forward?", "A factor's gradient has the other one."
    ),
    "not-a-product": Cause("What stands between the two factors?", "Each term is a product of one element of each."),
    "not-linear": Cause(
        "What is done besides multiplying and adding?",
        "Each product has one factor of each argument, and all are added.",
    ),
    # -- the right kind, wired wrongly
    "zero": Cause("What is added to the result?", "Follow one element of the input by hand through your loop."),
    "sign": Cause("Where does a minus come in?", "The forward only adds."),
    "averaged": Cause("Does the forward divide?", "A gradient is a sum; the loss has divided already, if it did."),
    "factor": Cause("Which number multiplies everything?", "Nothing but the two factors of the forward multiplies."),
    "counted-twice": Cause("How often is each product added?", "Look for a loop or a line that adds a second time."),
    "not-reset": Cause(
        "When does the sum for one element begin?", "What is set to zero once is not set to zero for each element."
    ),
    "product-of-sums": Cause(
        "Is the product of two sums the sum of the products?", "Multiply element by element first, and sum then."
    ),
    "stride-ignored": Cause(
        "How far apart are the pixels that one tap sees?", "Neighbouring windows are stride apart."
    ),
    "stride-on-tap": Cause("What does the stride move, the window or the tap?", "Taps of one window are neighbours."),
    "stride-wrong": Cause(
        "How far apart are neighbouring windows?", "The stride is an argument, and may be 1, 2 or 3."
    ),
    "tap-offset": Cause("Where does tap (0, 0) of window (0, 0) look?", "Counting begins at 0."),
    "padding-offset": Cause(
        "Where in xp does pixel (0, 0) of x lie?", "Windows count their pixels in xp: x begins pad further on."
    ),
    "kernel-flipped": Cause(
        "Which tap sees the first pixel?", "Use the same index for the tap's pixel and its weight."
    ),
    "kernel-transposed": Cause(
        "Which index of w is the row?", "The first index goes with rows, the second with columns."
    ),
    "wrong-tap": Cause("Which weight goes with which pixel?", "Write down both for the first two taps."),
    "height-for-width": Cause(
        "Which axis is the height?", "Images have axes N, H, W, C; the sizes are not equal here."
    ),
    "wraps-round": Cause(
        "What lies beyond the border?", "np.roll and indices below 0 take it from the other end: skip it, or pad."
    ),
    "padding-not-zero": Cause("What does a tap see beyond the border?", "The border of xp is zeros."),
    "assigned": Cause("How many windows see one pixel?", "What overlaps must be added to what is there."),
    "window-lost": Cause("How many windows are there?", "Follow the last window by hand."),
    "tap-lost": Cause("How many taps are there?", "Follow the last tap by hand."),
    "image-lost": Cause("Over which images does the sum run?", "Every image of the batch counts."),
    "channel-lost": Cause("Over which channels does the loop run?", "Every channel counts."),
    "pixel-lost": Cause("Which pixels does the loop visit?", "Follow the last row and the last column by hand."),
    "border-lost": Cause("Which windows see the border?", "A pixel on the border is in fewer windows, not in none."),
    "images-mixed": Cause("Which axis is the batch?", "No image of a batch knows another, except in a sum for dw."),
    "channels-mixed": Cause(
        "Which outputs does one input channel reach?", "Compare the specification's indices c and m."
    ),
    "pixels-mixed": Cause("Which pixels does one pixel reach?", "A pointwise convolution has no window."),
    "not-diagonal": Cause("Where is the matrix of a tap zero?", "Channel c reaches channel c alone."),
    "weight-transposed": Cause("Which axis of w is the input channel?", "w is (C, M): input first, output second."),
    "reordered": Cause("In which order are the axes?", "A reshape does not exchange axes, it cuts anew."),
    "unexplained": Cause(
        "What is the smallest case that fails?", "Do that case by hand, one element of the result at a time."
    ),
}
