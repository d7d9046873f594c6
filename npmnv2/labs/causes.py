"""Every cause that a verdict can name: a question that leads on, and a hint. Never the line to write."""

from typing import NamedTuple


class Cause(NamedTuple):
    """What a verdict asks, and what ``--hint`` adds."""

    question: str
    hint: str


CAUSES = {
    # -- no result to judge
    "not-written": Cause(
        "Which shape must the result have?", "Start with an array of zeros in the shape of the result."
    ),
    "missing": Cause("Is the function's name spelt as in the stub?", "The grader calls functions by their names."),
    "empty": Cause("Is the file saved?", "`lab start` writes the file to begin with."),
    "another-lab": Cause("Is this the file that you meant?", "Name the file after the lab's number."),
    "syntax": Cause("What does Python expect at this line?", "Often the line above lacks a bracket or a colon."),
    "import": Cause("Which modules does the lab need?", "Remove the import: NumPy is all that a solution needs."),
    "raises": Cause("What does Python say of this line?", "Print the value and the type of everything in the line."),
    "exits": Cause("Which line ends Python?", "Let the function return its result, and nothing end the program."),
    "crashes": Cause("What reaches beyond NumPy?", "Use NumPy's functions alone."),
    "hangs": Cause(
        "Does each loop end, and how often does it run?", "Count by hand how often each runs in the smallest case."
    ),
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
    "exchanged": Cause("In which order are the results returned?", "The specification has the order."),
    "input-changed": Cause("Which array does your function write to?", "Write only to arrays that you have made."),
    "not-finite": Cause("Which line makes the first nan or inf?", "Print what you divide by, just before you do."),
    "precision": Cause(
        "Which dtype do your arrays have?", "An array made as float32 keeps 7 digits of what it is given."
    ),
    # -- not the right kind of function
    "state-kept": Cause(
        "What lives on after the function has returned?",
        "Make every array inside the function, and let nothing depend on chance.",
    ),
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
    "sign": Cause("Where does a minus come in?", "Compare the sign with that of the forward's line."),
    "not-whole": Cause("Which division leaves a remainder?", "A window is there or not: count them in 7 rows."),
    "averaged": Cause(
        "Does the specification ask for a sum or for a mean?", "A sum: it is not divided by the number of its terms."
    ),
    "factor": Cause("Which number multiplies everything?", "Look for a number that the forward does not have."),
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
    "assigned": Cause(
        "How many terms has one element of the result?", "What comes later must be added to what is there."
    ),
    "window-lost": Cause("How many windows are there?", "Follow the last window by hand."),
    "tap-lost": Cause("How many taps are there?", "Follow the last tap by hand."),
    "image-lost": Cause("Over which images does the sum run?", "Every image of the batch counts."),
    "channel-lost": Cause("Over which channels does the loop run?", "Every channel counts."),
    "pixel-lost": Cause("Which pixels does the loop visit?", "Follow the last row and the last column by hand."),
    "border-lost": Cause("Which windows see the border?", "A pixel on the border is in fewer windows, not in none."),
    "images-mixed": Cause("Which axis is the batch?", "No image of a batch knows another, except in a sum for dw."),
    "channels-mixed": Cause(
        "Which outputs does one input channel reach?",
        "In the specification's formula, indices of one name are one number: compare each of yours.",
    ),
    "pixels-mixed": Cause("Which pixels does one pixel reach?", "A pointwise convolution has no window."),
    "not-diagonal": Cause("Where is the matrix of a tap zero?", "Channel c reaches channel c alone."),
    "reordered": Cause("In which order are the axes?", "A reshape does not exchange axes, it cuts anew."),
    # -- batch norm: the terms of the derivation
    "axes-left": Cause(
        "How many numbers has one channel's gamma?", "Sum over every axis but the last, whatever the number of axes."
    ),
    "axes-wrong": Cause(
        "Which values share a mean?", "All values of a channel: those of every image, row and column of the batch."
    ),
    "statistics-mix-channels": Cause(
        "How many means has an array of C channels?", "The last axis is the channel; no sum runs over it."
    ),
    "not-linear-in-dout": Cause(
        "How often is dout a factor in each term?", "Each term has dout once: by itself, or inside one sum."
    ),
    "direct-term-missing": Cause(
        "Is something overwritten that had to be added to?",
        "centered is used twice, so it receives twice: through xhat, and through squared. dx is the sum of all ways.",
    ),
    "mean-term-missing": Cause(
        "What happens to the mean when one x grows?", "It grows by 1/m as much, and every centered value falls."
    ),
    "variance-term-missing": Cause(
        "What happens to the variance when one x grows?", "centered * centered is in it: a factor is used twice there."
    ),
    "statistics-constant": Cause(
        "Would mean and variance stay if x changed?", "They were computed from x, so they send gradients to it as well."
    ),
    "direct-term-factor": Cause(
        "Which number multiplies dout on its way to x?", "Only gamma and 1 / std stand on the way from x to out."
    ),
    "mean-term-factor": Cause(
        "How often is the mean used, and with which sign?", "It is subtracted from every x, once."
    ),
    "variance-term-factor": Cause(
        "What are the derivatives of a square and of a root?", "The 2 of the one and the 1/2 of the other both count."
    ),
    "std-power": Cause(
        "With which power does the standard deviation come in?",
        "The derivative of 1 / std is -1 / std**2, that of sqrt(u) is 1 / (2 * sqrt(u)); each way to x divides by std.",
    ),
    "variance-for-root": Cause("What is the root taken of?", "xhat is centered / sqrt(var + eps)."),
    "not-centred": Cause(
        "Is it x or x - mean that is squared in the variance?", "Name x - mean once, and use that name throughout."
    ),
    "not-normalised": Cause("What does gamma multiply in the forward?", "xhat: x less its mean, divided by std."),
    "other-statistics": Cause(
        "Which batch are the mean and the variance of?", "In training they are those of the x that is given."
    ),
    "gamma-forgotten": Cause("Where does gamma stand on the way from x to out?", "dxhat is gamma * dout."),
    "gamma-extra": Cause("How often does gamma multiply?", "dgamma is a sum of dout * xhat, not of dxhat * xhat."),
    "eps-missing": Cause("What keeps the forward from dividing by zero?", "std is sqrt(var + eps), backward as well."),
    "eps-outside": Cause("What is eps added to?", "To the variance, before the root is taken."),
    "count-minus-one": Cause(
        "What does the forward divide the sum of squares by?", "By m. m - 1 is for a sample's variance; not here."
    ),
    "count-wrong": Cause("How many values does one mean run over?", "m is x.size // C, whatever the number of axes."),
    "xhat-forgotten": Cause(
        "Which way does a larger variance move a value?", "Away from where it stands: by its own xhat."
    ),
    "sum-missing": Cause(
        "How many values does one mean go to, and one standard deviation?",
        "All m of a channel, so m gradients come back to it, and add up.",
    ),
    "sums-exchanged": Cause(
        "Which of the two sums comes through the mean?", "The mean is in every out alike, so it meets sum(dout) alone."
    ),
    # -- the block in parts
    "remainder-lost": Cause("Is E always a multiple of t?", "Write down the sizes of the parts for E = 7 and t = 3."),
    "part-lost": Cause("Which parts does the loop visit?", "Print the first and the last channel of every part."),
    "parts-mismatched": Cause(
        "Which rows, columns and filters belong to one part?",
        "A part has its columns of we, its filters of wd and its rows of wp: the same channels in all three.",
    ),
    "inputs-cut": Cause(
        "Which of C, E and M is cut into parts?", "E: each wide channel needs all C channels of its pixel."
    ),
    "relu6-after-sum": Cause(
        "Is ReLU6 of a sum the sum of ReLU6?", "Apply it to each middle channel, before they are added up."
    ),
    "middle-whole": Cause(
        "Which of your arrays has E channels?", "Cut the weights into parts before anything is computed."
    ),
    "parts-kept": Cause(
        "What is still there when a part is done?", "Add each part to out, and keep nothing else of it."
    ),
    "parts-of-t": Cause("Is t the number of the parts, or their size?", "With t = 1 there is one part: the whole."),
    "parts-uneven": Cause(
        "How large is your largest part for E = 7 and t = 4?",
        "Two channels: no part needs more than E / t, rounded up.",
    ),
    # -- the inverted residual
    "key-missing": Cause(
        "Which names has the dict in this case?", "A block that does not widen has no we, no gamma1 and no beta1."
    ),
    "wrong-keys": Cause("Which names has p in this case?", "Each parameter has a gradient, under its own name."),
    "transposed": Cause("Which axis is that of the input channels?", "A gradient has the shape of what it is for."),
    "shortcut-missing": Cause(
        "When is x added to the output?", "Where the stride is 1 and the block has as many channels out as in."
    ),
    "shortcut-extra": Cause(
        "What is added to the projection?",
        "What the specification says: x where it has the shape of the output, or nothing.",
    ),
    "shortcut-misplaced": Cause("Where does the shortcut begin, and where does it end?", "See the handout's picture."),
    "shortcut-factor": Cause("How often is x added?", "Once."),
    "activation-at-the-end": Cause(
        "What does a linear bottleneck end with?", "With the batch norm, and with the sum where x is added."
    ),
    "activation-missing": Cause("After which steps is there a ReLU6?", "The specification has the order."),
    "activation-before-norm": Cause("What does ReLU6 see?", "The specification has the order."),
    "relu-for-relu6": Cause("What does ReLU6 make of 7?", "It cuts at 6 as well as at 0."),
    "relu6-wrong": Cause("What does ReLU6 make of -7, of 3 and of 7?", "0, 3 and 6."),
    "batchnorm-missing": Cause("After which steps is there a batch norm?", "The specification has the order."),
    "beta-forgotten": Cause("What comes after the scaling by gamma?", "The shift by beta."),
    "mask-missing": Cause(
        "What does ReLU6's forward do to a value of 7, if the value grows a little?",
        "Nothing: the result stays 6, and the gradient of 7 is 0.",
    ),
    "mask-of-relu": Cause(
        "What does ReLU6's forward do to a value of 7, if the value grows a little?",
        "Nothing: the result stays 6, and the gradient of 7 is 0.",
    ),
    "mask-wrong-side": Cause("Which values did ReLU6 pass on as they were?", "Those strictly between 0 and 6."),
    "mask-of-other": Cause(
        "Which array decides what comes through?", "The one that the forward gave to ReLU6: a batch norm's output."
    ),
    "mask-late": Cause("In which order does the way back go?", "The last step of the forward is the first one back."),
    "mask-extra": Cause("Where did the forward have a ReLU6?", "Only there does the backward have a mask."),
    "norm-of-output": Cause(
        "What went into this batch norm, and what came out?", "batchnorm_backward takes what went in."
    ),
    "step-missing": Cause("Which steps has the gradient passed?", "Each step of the forward has one on the way back."),
    "shortcut-gradient-missing": Cause("How many ways lead from x to out?", "x was used twice, so it receives twice."),
    "shortcut-gradient-only": Cause("How many ways lead from x to out?", "x was used twice, so it receives twice."),
    "shortcut-gradient-factor": Cause("How often was x added in the forward?", "Once, so dout comes to it once."),
    "shortcut-gradient-other": Cause(
        "What did the forward do to x on the shortcut?", "Nothing: its gradient comes as it is."
    ),
    "eps-wrong": Cause("Which number is epsilon?", "The specification has it."),
    "cache-overwritten": Cause(
        "Which call of block_forward does a cache belong to?",
        "Make the cache new in every call, and keep nothing else.",
    ),
    # -- counting
    "factor-missing": Cause(
        "Which sizes does one output value depend on?", "Count the products in one output value, then the values."
    ),
    "factor-extra": Cause(
        "How many products has one output value?", "Write them all down for a layer of two channels."
    ),
    "input-pixels": Cause("How often is a filter applied?", "Once for every pixel of the output."),
    "output-pixels": Cause("Which pixels does the layer read?", "All of its input, once, whatever the stride."),
    "pixels-forgotten": Cause("How often is each weight used?", "A weight of a convolution is used at every pixel."),
    "floor-for-ceil": Cause(
        "Where are the middles of the windows, in 7 rows with stride 2?", "In rows 0, 2, 4 and 6: one more than 7 // 2."
    ),
    "padding-forgotten": Cause(
        "How many rows has the output of a 3 x 3 convolution with stride 1?", "As many as its input: it is padded."
    ),
    "padding-counted": Cause("Who stores the zeros of the border?", "The bytes are those of the input as it is."),
    "channels-exchanged": Cause("How many channels go in, and how many come out?", "C go in, M come out."),
    "depthwise-as-standard": Cause(
        "How many input channels does one output channel of a depthwise layer see?", "One: its own."
    ),
    "two-operations": Cause(
        "Is a multiply-add one or two?", "One: both papers count so. Tools that print FLOPs often count two."
    ),
    "backward-counted": Cause("Is this a prediction or a step of training?", "The backward is not asked for."),
    "bias-counted": Cause("Which layers of the specification have a bias?", "None of them: see the convention."),
    "batchnorm-counted": Cause("Which numbers are weights of the layer?", "Those that multiply its input."),
    "statistics-counted": Cause("Which numbers are weights of the layer?", "Those that multiply its input."),
    "bytes-for-weights": Cause("Which unit has the second number?", "It is a count; the third number is in bytes."),
    "bytes-a-number": Cause("How many bytes has a float32?", "32 bits are 4 bytes."),
    "part-missing": Cause(
        "Which three arrays go through memory?", "Input and weights are read, the output is written."
    ),
    "expansion-at-1": Cause("What would an expansion by 1 do?", "With t = 1 a block begins with its depthwise layer."),
    "stride-repeated": Cause(
        "Which block of a row makes the image smaller?", "The first; n blocks would do it n times."
    ),
    "stride-misplaced": Cause("Which layers have a stride of 2?", "The stem, and some of the depthwise layers."),
    "early-strides": Cause("Where is your table from?", "Compare its strides with the rows that are given."),
    "repeats-ignored": Cause("How many blocks has a row?", "n of them; only the first has other channels or a stride."),
    "wrong-width": Cause(
        "How many channels go into each of the three layers of a block?", "C, t * C and t * C; then C becomes c."
    ),
    "layer-missing": Cause(
        "Which layers have weights?", "List all of the smallest network by hand, with their shapes."
    ),
    "pool-forgotten": Cause("How many pixels does the classifier see?", "One: the mean comes before it."),
    "weights-for-madds": Cause("How often is each weight used?", "A weight of a convolution is used at every pixel."),
    "rows-ignored": Cause("What does your function do with rows?", "Its result must follow from the rows it is given."),
    # -- a check and what it does not see
    "rejects-the-right": Cause(
        "By how much do your two gradients differ, in the first element that is found wrong?",
        "Print both. Leave room for the rounding of a quotient; a larger difference has another reason: look for that.",
    ),
    "argument-dtype": Cause(
        "What is left of a step of 1e-6 in this array?", "Choose float64: whole numbers have no room for it."
    ),
    "no-step": Cause("Are these two arrays, or two names for one?", "b = a gives an array a second name."),
    "step-too-small": Cause(
        "How many digits are left of L at one step less L at the other?", "L has 16 digits; a step of 1e-6 keeps nine."
    ),
    "not-restored": Cause("Is x what it was when the next element has its turn?", "Take each step back, or copy x."),
    "one-sided": Cause(
        "What does your comparison make of a difference below zero?", "An error has a size, whatever its sign."
    ),
    "never-called": Cause("What does a check compare?", "What backward returns, with what forward says."),
    "not-compared": Cause("Which numbers does your check look at?", "Every element of dx, and every element of dw."),
    "tolerance-loose": Cause(
        "How small an error may be seen?", "In float64 a central difference with a step of 1e-6 has nine right digits."
    ),
    "dout-zero": Cause("What does a gradient of zero say?", "Every gradient of zero is zero, right or wrong."),
    "dout-constant": Cause(
        "Which loss has a dout of ones?", "The sum: it hides who gets what. Let dout be random numbers."
    ),
    "one-channel": Cause("What can go wrong with channels that meet?", "Have more than one."),
    "one-image": Cause("What can go wrong with a second image?", "Have more than one."),
    "one-tap": Cause("What can go wrong with a second tap?", "Have more than one."),
    "weights-alike": Cause("What do you see of a kernel that is turned round?", "Let the weights be random numbers."),
    "stride-never-2": Cause("Which arguments have you tried?", "Try every argument in more than one value."),
    "padding-never": Cause("Which arguments have you tried?", "Try every argument in more than one value."),
    "never-higher": Cause("What do you see if height and width are mistaken?", "Try images higher and wider."),
    "no-overlap": Cause("What happens where windows overlap?", "Let the kernel be larger than the stride."),
    "not-a-file": Cause("Which file did you hand in?", "Hand in the file itself, as `lab start` has named it."),
    "not-a-notebook": Cause(
        "Does Jupyter open the file?", "Copy your cells into a new one: `lab start` has --notebook."
    ),
    "grader-failed": Cause("Who can see to it?", "It is a mistake of the grader's: tell who runs it, with your file."),
    "another-mistake": Cause(
        "In which call does suspect differ from the right backward?",
        "Let stride, padding and sizes vary one at a time; see where dx or dw is wrong, and by which factor.",
    ),
    "unexplained": Cause(
        "Which products, or which steps, give this element if you do it by hand?",
        "Write them down for the case above, and look for the first that your code does not have.",
    ),
}
