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
    settled: str = "computed"  # or "by the source": a look into the paper settles it

    @property
    def kind(self) -> str:
        """What is asked."""
        return "predict the number" if self.unit else "true or false"

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
