"""The papers' arguments, run: a file each. `python -m npmnv2 experiment NAME`; docs/experiments.md has the results.

Each file has an `EXPERIMENT`: the cases that are run, the table and the picture of what they gave, and what it does not
show. `experiment` says what that is, `store` keeps results, `runs` trains one network, `statistics` has the intervals.
"""

import importlib
import os

from npmnv2.experiments.experiment import Experiment, Results

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
    ['1', 'part', '7.12', '(b1.0)', '10.92', '(b1.0)']
    """
    experiment, results = full_run(name)
    return [line for line in experiment.table(results) if line]


def full_run(name: str) -> tuple[Experiment, Results]:
    """An experiment, and the results of the full run that the package has. Errors as of `stored`."""
    from npmnv2.experiments.store import Store, kept

    experiment = load(name)
    cases = experiment.cases(False, range(experiment.seeds))
    store = Store(name, False, kept(name))
    try:
        missing = [case.key for case in store.missing(cases)]
    except ValueError as error:  # made with other settings
        missing = [str(error)]
    if missing:
        raise ValueError(f"the package has no full run of {name}: it lacks {missing[0]}")
    return experiment, store.results(cases)
