"""The papers' arguments, run: a file each. `python -m npmnv2 experiment NAME`; docs/experiments.md has the results.

Each file has an `EXPERIMENT`: the cases that are run, the table and the picture of what they gave, and what it does not
show. `experiment` says what that is, `store` keeps results, `runs` trains one network, `statistics` has the intervals.
"""

import importlib

from npmnv2.experiments.experiment import Experiment

NAMES = ("relu", "bottleneck", "expansion", "separable", "width-resolution", "memory", "small-data", "recipe")


def load(name: str) -> Experiment:
    """The experiment of a name.

    Raises
    ------
    ValueError
        For a name that is none.

    Examples
    --------
    >>> load("relu").question
    'What does ReLU destroy, and how many dimensions does it take to keep it?'
    """
    if name not in NAMES:
        raise ValueError(f"NAME must be one of {', '.join(NAMES)}; was {name}")
    module = importlib.import_module(f"npmnv2.experiments.{name.replace('-', '_')}")
    experiment: Experiment = module.EXPERIMENT
    return experiment
