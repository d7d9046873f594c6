"""Labs: a learner writes an operation, and the grader says why it is wrong. NumPy alone; no Numba, no network.

How the parts hang together, in the order in which a verdict is made:

- `lab.py`: a lab is data (functions, cases smallest first, the multiply-adds of a good solution) with its right answer.
- `labN.py` and `stubs/labN.py`: lab N, and the file that a student starts from. What else a new lab needs is in
  docs/map.md.
- `notebook.py`: a stub as a notebook, and a student's notebook as one text with the cell of every line.
- `process.py` and `child.py`: the student's file runs in a process of its own, with limits. That process cannot import
  the package and never sees an expected value. All it can do is return arrays, as bytes with a shape: `wire.py`.
- `grade.py`: calls the cases, compares, and gives the verdict on the first that fails. `form.py`: the type, shape and
  dtype of a result. `source.py`: what can be told from the student's file as a text.
- `wiring.py`: the cause. These operations are sums of products (`product.py`), so unit vectors show which element meets
  which, and the difference from what should meet is the diagnosis (`terms.py`, `difference.py`). A cause is named only
  if it explains what differs; else it is "unexplained", and the first product that is wrong is told, which is true.
- Where results are no sums of products a lab has its own `explain`, by the same rule. Lab 4: `normalised.py` fits the
  terms of the derivation (those of dx: `dx_terms.py`), `ratio.py` reads by which factor one is wrong. Lab 5: `block.py`
  computes the block with mistakes in it, `mistakes.py` lists them, and `residual.py` finds which of them give a
  student's results. Lab 6: `factors.py` takes the count of a layer apart, `network.py` finds the way of counting that
  gives a student's totals. Lab 7: `parts.py` looks at each middle channel by itself, `taps.py` at what each tap sees,
  `held.py` at how the memory changes with the number of parts. Lab 3: `rejected.py` reads from the calls of a check why
  it rejects a right backward; `planted.py` has the backwards on which it is tried, and why one is accepted. They run in
  the student's process: a check that looks for them there, and not at what they return, can tell them.
- `causes.py`: for each cause a question, and a hint. `questions.py`: which of them fits what was seen.
- `counted.py`: an array that counts multiply-adds. `suspect.py`: lab 3's question that is each student's own.
- `submission.py`: from a file to a verdict; `notebook.py` if it is a notebook. `batch.py`: a folder of them, and
  `gradescope.py` the form of one service. `claims/`: statements to be judged and settled, which need no grader.

The answers to the labs are in this package, to be read by whoever wants to; the grader keeps them out of a submission's
process so that what is judged is the student's own function, not so that they are secret.
"""

import importlib
import os

from npmnv2.labs.lab import Lab

WITH_VARIANTS = (3,)  # the labs that can differ from student to student


def numbers() -> list[int]:
    """The labs that there are.

    Examples
    --------
    >>> numbers()[:3]
    [0, 1, 2]
    """
    names = os.listdir(os.path.join(os.path.dirname(__file__), "stubs"))
    return sorted(int(name[3:-3]) for name in names if name.startswith("lab") and name.endswith(".py"))


def find(number: int, variant: str | None = None) -> Lab:
    """The lab of that number; with a text, such as "2027/ada", the variant that belongs to it."""
    module = importlib.import_module(f"npmnv2.labs.lab{number}")
    lab: Lab = module.LAB if variant is None else module.variant(variant)
    return lab


def stub(number: int, variant: str | None = None) -> str:
    """The file that a student starts from."""
    path = os.path.join(os.path.dirname(__file__), "stubs", f"lab{number}.py")
    with open(path, encoding="utf-8") as file:
        first, _, text = file.read().partition("\n")  # the first line is for mypy, not for students
    return text + find(number, variant).more
