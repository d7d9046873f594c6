"""The results of a run, kept in one file of JSON as they come, so that a run that was stopped goes on from there."""

import datetime
import json
import os
import platform
import time
from collections.abc import Iterable
from typing import Any

import npmnv2
from npmnv2.atomic import writing
from npmnv2.experiments.experiment import Case, Result, Results
from npmnv2.runtime.processor import cpuinfo


def kept(name: str) -> str:
    """The file of the full run that the package has.

    Raises
    ------
    ValueError
        If it has none.

    Examples
    --------
    >>> os.path.basename(kept("relu"))
    'relu.json'
    """
    path = os.path.join(os.path.dirname(__file__), "results", f"{name}.json")
    if not os.path.isfile(path):
        raise ValueError(f"the package has no full run of {name}: run it, which takes a while, or with --quick")
    return path


class Store:
    """Results by case, in memory, and in a file if there is a path.

    Parameters
    ----------
    name : str
        Of the experiment.
    quick : bool
    path : str or None
        A file of JSON. If it is there, the results in it are taken, and only what is missing is run.

    Raises
    ------
    ValueError
        If the file is there and holds something else: another experiment, another kind of run, or no results at all. It
        stays as it is.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "relu.json")
    >>> Store("relu", True, path).put(Case("n = 2", 0, {"n": 2}), {"error": 0.7})
    >>> Store("relu", True, path).missing([Case("n = 2", 0, {"n": 2}), Case("n = 3", 0, {"n": 3})])
    [Case(name='n = 3', seed=0, settings={'n': 3})]
    >>> folder.cleanup()
    """

    def __init__(self, name: str, quick: bool, path: str | None = None) -> None:
        self.path = path
        self.document: dict[str, Any] = {
            "experiment": name,
            "quick": quick,
            "npmnv2": npmnv2.__version__,
            "machine": cpuinfo().get("model name") or platform.processor() or platform.machine(),
            "date": datetime.date.today().isoformat(),
            "minutes": 0.0,  # by the clock, over all commands that worked on it
            "cases": {},
        }
        if path is not None and os.path.exists(path):
            self._take(path)
        self._start, self._before = time.perf_counter(), self.document.get("minutes")  # None: begun without a clock

    def _take(self, path: str) -> None:
        advice = "--json must name a new file, or one to go on with"
        try:
            with open(path, encoding="utf-8") as file:
                document = json.load(file)
            found = document["experiment"], document["quick"]
            float(document.get("minutes", 0))
            cases = {key: (entry["settings"], entry["result"]) for key, entry in document["cases"].items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ValueError(f"{advice}; {path} holds no results of an experiment") from None
        wanted = self.document["experiment"], self.document["quick"]
        if found != wanted:
            what, ours = (f"{name}{' --quick' * bool(quick)}" for name, quick in (found, wanted))
            raise ValueError(f"{advice}; {path} is of {what}, this is {ours}")
        if not all(isinstance(settings, dict) and isinstance(result, dict) for settings, result in cases.values()):
            raise ValueError(f"{advice}; {path} holds no results of an experiment")
        self.document = document

    def missing(self, cases: Iterable[Case]) -> list[Case]:
        """The cases that have no result.

        Raises
        ------
        ValueError
            If a result is of other settings than the case has now.
        """
        kept, left = self.document["cases"], []
        for case in cases:
            if case.key not in kept:
                left.append(case)
            elif kept[case.key]["settings"] != json.loads(json.dumps(case.settings)):
                raise ValueError(
                    f"{self.path} has another {case.key!r}: made with {kept[case.key]['settings']}, now it is "
                    f"{case.settings}; --json must name a new file"
                )
        return left

    def put(self, case: Case, result: Result) -> None:
        """Keep a result, in the file too."""
        self.document["cases"][case.key] = {
            "name": case.name,
            "seed": case.seed,
            "settings": case.settings,
            "result": result,
        }
        if self._before is not None:
            self.document["minutes"] = round(self._before + (time.perf_counter() - self._start) / 60, 4)
        if self.path is not None:
            with writing(self.path) as file:
                file.write(self._text().encode())

    def _text(self) -> str:
        """JSON with a line a case."""
        about = {key: value for key, value in self.document.items() if key != "cases"}
        cases = ",\n".join(f"{json.dumps(key)}: {json.dumps(entry)}" for key, entry in self.document["cases"].items())
        return f'{json.dumps(about)[:-1]}, "cases": {{\n{cases}\n}}}}\n'

    def results(self, cases: Iterable[Case]) -> Results:
        """The results of these cases: by name, in their order, then by seed."""
        found: Results = {}
        for case in cases:
            result = json.loads(json.dumps(self.document["cases"][case.key]["result"]))
            found.setdefault(case.name, {})[case.seed] = result
        return found
