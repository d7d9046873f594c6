"""Every example in a docstring of the package runs."""

import doctest
import importlib
import pkgutil

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
