"""The variant of lab 3 that belongs to a student: a backward with one thing wrong, and the question what it is.

Which of the planted backwards it is, and how the list of answers is numbered, follows from a text such as "2027/ada"
(the course's number and the student's name), so that no list of answers has to be kept, and neighbours have others.
"""

import shlex
import unicodedata
import zlib

import numpy as np

from npmnv2.labs.lab import Case, Function, Wrong
from npmnv2.labs.planted import PLANTED
from npmnv2.labs.product import Finding

FUNCTION = Function("which", (), ("the number",), whole=True)
TEXT = '''

# %% [markdown]
# ## Which one is it?
#
# The backward below is wrong, and it is yours alone ({variant}). Exactly one of these is true of it:
#
{listed}
#
# Your check can tell that something is wrong; find out what. `which` returns the number. This question is judged only
# if it is asked for: `python -m npmnv2 lab 3 {options}`.


# %%
{source}

def which():
    """The number of what is wrong with suspect."""
    raise NotImplementedError("which is still to be written")
'''


def answers(variant: str) -> list[str]:
    """The planted mistakes in the order of this variant; the first answer has number 1."""
    names = [name for name, planted in PLANTED.items() if planted.wrong]
    return [names[k] for k in _random(variant).permutation(len(names))]


def right(variant: str) -> int:
    """The number of the mistake that is planted in this variant."""
    return int(_random(f"{variant} which").integers(len(answers(variant)))) + 1


def _random(text: str) -> np.random.Generator:
    same = unicodedata.normalize("NFC", text)  # a name has more than one spelling in bytes, as systems write it
    return np.random.default_rng(zlib.crc32(same.encode(errors="replace")))


def more(variant: str) -> str:
    """What is added to the stub."""
    names = answers(variant)
    listed = "\n".join(f"# {number}. {PLANTED[name].wrong}" for number, name in enumerate(names, 1))
    source = PLANTED[names[right(variant) - 1]].text().replace("\nimport numpy as np\n\n", "", 1)
    shown = "".join(c for c in variant if c.isprintable())
    seed, _, student = shown.partition("/")
    options = f"--seed {seed} --student {shlex.quote(student)}"
    return TEXT.format(
        variant=shown, options=options, listed=listed, source=source.replace("def backward(", "def suspect(")
    )


def case(variant: str) -> Case:
    """The question as a case; the last one, after those of the check."""
    return Case("which", "say what is wrong with suspect", {"variant": variant}, "int64")


def explain(wrong: Wrong) -> Finding:
    """The answer was another number."""
    names, number = answers(wrong.case.sizes["variant"]), int(wrong.results[0])
    if not 1 <= number <= len(names):
        return Finding("another-mistake", f"The numbers are 1 to {len(names)}; yours is {number}.")
    shown = "".join(c for c in wrong.case.sizes["variant"] if c.isprintable())
    return Finding(
        "another-mistake", f"It is not true of the suspect of {shown} that {PLANTED[names[number - 1]].wrong}."
    )
