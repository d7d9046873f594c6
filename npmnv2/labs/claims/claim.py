"""What a claim is, and what settles it."""

from typing import NamedTuple


class Verdict(NamedTuple):
    """What the computation found."""

    answer: bool | float
    why: str  # one sentence, with the figures that show it


class Claim(NamedTuple):
    """A statement that is true or false or, if it has a unit, a question whose answer is a number."""

    number: int
    says: str
    settle: str  # module and function of this folder that find the answer
    read: str  # the page that says more, and its heading, from docs/
    source: str = "five widely read posts"
    unit: str = ""
    within: float = 1.0  # a prediction is right if it is off by this factor at most
    by: str = ""  # a test or an experiment that settles it too; "": the formula, or the source, on the page
    settled: str = "computed"  # or "by the source": a look into the paper settles it

    @property
    def kind(self) -> str:
        """What is asked."""
        return "predict the number" if self.unit else "true or false"

    @property
    def link(self) -> str:
        """What settles it: a test, a command or a page, as one opens or runs it from the folder of the repository.

        Examples
        --------
        >>> Claim(1, "How many?", "", "costs.md#bytes").link, Claim(1, "How?", "", "", by="experiment relu").link
        ('docs/costs.md#bytes', 'python -m npmnv2 experiment relu')
        """
        if not self.by:
            return f"docs/{self.read}"
        return self.by if self.by.startswith("tests/") else f"python -m npmnv2 {self.by}"

    def is_right(self, said: bool | float, verdict: Verdict) -> bool:
        """Whether somebody who said this was right.

        Examples
        --------
        >>> claim = Claim(1, "How many?", "", "", unit="blocks", within=1.1)
        >>> [claim.is_right(said, Verdict(100, "")) for said in (95, 109, 111, -100)]
        [True, True, False, False]
        """
        if not self.unit:
            return said == verdict.answer
        low, high = verdict.answer / self.within, verdict.answer * self.within
        return low * (1 - 1e-9) <= said <= high * (1 + 1e-9)
