"""Every example in a docstring of the package runs."""

import doctest
import importlib
import inspect
import pkgutil
import re

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import npmnv2

pytestmark = pytest.mark.usefixtures("one_thread")

SLOW_TO_COMPILE = {"npmnv2.engine.fused"}
MODULES = sorted(m.name for m in pkgutil.walk_packages(npmnv2.__path__, "npmnv2.") if not m.name.endswith("__main__"))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.compiled] if name in SLOW_TO_COMPILE else []) for name in MODULES],
)
def test_examples(name):
    module = importlib.import_module(name)
    with threadpool_limits():  # which gives BLAS back what it had
        failed, _ = doctest.testmod(module, extraglobs={"np": np}, optionflags=doctest.ELLIPSIS)
    assert failed == 0


@pytest.mark.parametrize("name", npmnv2.ops.__all__)
def test_what_is_raised_is_said(name):
    """Each error of an operation has a condition, or the operation that has the same ones: no "for a bad x"."""
    text = inspect.getdoc(getattr(npmnv2.ops, name))
    section = re.search(r"\nRaises\n-+\n(.*?)(?:\n\n|$)", text, re.S)
    said = [line.strip() for line in section[1].splitlines() if line.startswith("    ")] if section else []
    if section:
        assert re.match(r"If |As `\w+`", said[0]), said
        assert not any(line.startswith("For ") for line in said)
    else:
        assert re.search(r"errors\b.* are\s+those of `\w+`", text, re.S), "no errors are named"
