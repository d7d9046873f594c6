"""The question for a verdict. One cause can be seen in several ways, and then what was seen chooses it."""

from npmnv2.labs.causes import CAUSES, Cause


def asked(cause: str, about: str = "") -> Cause:
    """The question and the hint for a cause; `about` is what was seen of it, such as the type of an exception.

    Examples
    --------
    >>> asked("raises", "NameError").question
    'Where does this name get its value?'
    >>> asked("raises", "an exception of your own") == CAUSES["raises"]
    True
    """
    return CLOSER.get((cause, about)) or CAUSES.get(cause, CAUSES["unexplained"])


CLOSER = {  # by the cause, and by what was seen: the type of an exception, or what the function returns
    ("not-written", "word"): Cause(
        "Which two numbers must agree if backward is right?",
        "Choose one small x, w and dout; compare one element of dx first.",
    ),
    ("not-written", "numbers"): Cause(
        "What is the number for the handout's example?", "Do it by hand, then write down what you did."
    ),
    ("wrong-type", "word"): Cause(
        "What does it return if nothing is wrong, and what if something is?", "None, or a text; nothing else."
    ),
    ("wrong-type", "numbers"): Cause(
        "What does the specification return?", "One whole number, or a tuple of them if it names several."
    ),
    ("wrong-type", "one number"): Cause(
        "Over which axes must the sum run, and which is left?", "A sum without an axis is a sum over everything."
    ),
    ("unexplained", "word"): Cause(
        "Which numbers does your check compare for this backward?",
        "Print for one element what backward says, and what forward says of it.",
    ),
    ("unexplained", "numbers"): Cause(
        "Which factors, or which layers, give this number if you do it by hand?",
        "Write them down for the case above, and look for the first that your code does not have.",
    ),
    ("stride-ignored", "numbers"): Cause(
        "Which layers see fewer pixels after a stride of 2?", "All that come after it, to the end of the network."
    ),
    ("rejects-the-right", "all"): Cause(
        "What does your check return if nothing is wrong?",
        "None alone accepts. If it finds an error: print the two gradients that it compares, for one element.",
    ),
    ("hangs", "word"): Cause(
        "Does each loop end, and how many elements has your x?",
        "Every element of x and of w costs two calls of forward: small arrays show as much.",
    ),
    # -- exceptions
    ("raises", "ValueError"): Cause(
        "Which shapes meet in this line?",
        "Print the shapes of everything in the line, and compare them with the shapes in the specification.",
    ),
    ("raises", "unpack"): Cause("How many values stand on the right?", "Print them: a shape has one for each axis."),
    ("raises", "AxisError"): Cause("How many axes has the array?", "Print its shape; axes are counted from 0."),
    ("raises", "IndexError"): Cause(
        "Which index is too large, and where does it come from?",
        "Print the index and the shape just before the line; the last index is one less than the size.",
    ),
    ("raises", "TypeError"): Cause(
        "What does each call and each operator in this line take?",
        "Count the arguments, and print the type of each: an array, a list and None are not the same.",
    ),
    ("raises", "AttributeError"): Cause(
        "Of which type is the value before the dot?", "Print its type; None often comes from a missing return."
    ),
    ("raises", "NameError"): Cause(
        "Where does this name get its value?", "Compare the spelling; what another function has set is not known here."
    ),
    ("raises", "UnboundLocalError"): Cause(
        "On which way through the function does this name get no value?",
        "A line in an `if` or in a loop may not run: follow this case by hand.",
    ),
    ("raises", "ZeroDivisionError"): Cause("What is 0 here?", "Print what you divide by, just before you do."),
    ("raises", "RecursionError"): Cause(
        "When does the function stop to call itself?", "Print its arguments at the beginning of each call."
    ),
    ("raises", "EOFError"): Cause(
        "What does this line wait for?", "Nobody types while a file is judged: let the arguments say everything."
    ),
    ("raises", "PermissionError"): Cause(
        "What does this line want of the computer?", "A lab reads and writes no files, and starts nothing."
    ),
}
