"""Popular statements about MobileNet, to be judged first and then settled by running: `python -m npmnv2 lab claims`.

- `claims.toml`: the statements, without their answers. They come from five widely read posts and from the papers.
- `claim.py`: what a claim is, and what a verdict.
- `counts.py`, `shapes.py`, `nonlinear.py`, `tables.py`: a function a claim, by theme. Each computes the answer with the
  package, and says in one sentence what it found. Its name in `claims.toml` ties it to the statement.
- `printed.py`: what the papers print, for the claims that compare it with something.
"""

import importlib
import os
import tomllib

from npmnv2.backends import backend
from npmnv2.labs.claims.claim import Claim, Verdict

__all__ = ["Claim", "Verdict", "load", "settle"]


def load() -> list[Claim]:
    """All claims, numbered from 1.

    Examples
    --------
    >>> load()[0].kind
    'true or false'
    """
    with open(os.path.join(os.path.dirname(__file__), "claims.toml"), "rb") as file:
        rows = tomllib.load(file)["claim"]
    return [Claim(k, " ".join(row.pop("says").split()), **row) for k, row in enumerate(rows, 1)]


def settle(claim: Claim) -> Verdict:
    """Compute what is so.

    Examples
    --------
    >>> settle(load()[0]).answer
    False
    """
    module, _, function = claim.settle.partition(".")
    found = getattr(importlib.import_module(f"npmnv2.labs.claims.{module}"), function)
    with backend("numpy"):
        verdict: Verdict = found()
    return verdict
