"""The papers' arguments, run: a file each. `python -m npmnv2 experiment NAME`; docs/experiments.md has the results.

Each file has an `EXPERIMENT`: the cases that are run, the table and the picture of what they gave, and what it does not
show. `experiment` says what that is, `store` keeps results, `runs` trains one network, `statistics` has the intervals.
"""

import importlib
import os

from npmnv2.experiments.experiment import Experiment

NAMES = ("relu", "bottleneck", "expansion", "separable", "width-resolution", "memory", "small-data", "recipe")
_RESULTS = os.path.join(os.path.dirname(__file__), "results")
FULL_RUNS = tuple(name for name in NAMES if os.path.isfile(os.path.join(_RESULTS, f"{name}.json")))


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


def stored(name: str) -> list[str]:
    """The table of the full run that the package has, without its empty lines.

    Raises
    ------
    ValueError
        For a name that is none, or of which there is no full run.

    Examples
    --------
    >>> stored("memory")[1].split()
    ['1', 'part', '7.12', '(b1.0)', '10.91', '(b1.0)']
    """
    from npmnv2.experiments.store import Store, kept

    experiment = load(name)
    cases = experiment.cases(False, range(experiment.seeds))
    store = Store(name, False, kept(name))
    if missing := store.missing(cases):
        raise ValueError(f"the package has no full run of {name}: {missing[0].key} is not in it")
    return [line for line in experiment.table(store.results(cases)) if line]
