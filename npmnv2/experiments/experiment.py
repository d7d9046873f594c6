"""What an experiment is: a question, cases that are run one by one, a table, a picture, and what it does not show."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Case(NamedTuple):
    """One thing that is run: with these settings, from this seed."""

    name: str  # what is varied, in the words of the table
    seed: int
    settings: dict[str, Any]  # all that the result depends on besides the seed and the code; JSON holds it

    @property
    def key(self) -> str:
        """Under which its result is kept.

        Examples
        --------
        >>> Case("linear, 10 epochs", 3, {}).key
        'linear, 10 epochs, seed 3'
        """
        return f"{self.name}, seed {self.seed}"


Result = dict[str, Any]  # what a case gives: numbers and lists of numbers, by name
Results = dict[str, dict[int, Result]]  # name of the case -> seed -> result


class Experiment(NamedTuple):
    """A file of this folder, as the command runs it.

    The results of `run` go to `table` and `draw` as they come back from JSON, so that a stored run is shown as one that
    has just ended.
    """

    question: str
    cases: Callable[[bool, range], list[Case]]  # cases(quick, seeds)
    run: Callable[[Case], Result]
    table: Callable[[Results], list[str]]
    draw: Callable[[Results], "Figure"]
    does_not_show: tuple[str, ...]  # a sentence each
    frames: "Callable[[Results], list[Figure]] | None" = None  # of an animation, if there is one
    seeds: int = 5  # of a full run
    quick_seeds: int = 2
    timed: bool = False  # whether a clock runs: then nothing else does
