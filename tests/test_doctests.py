"""Every example in a docstring of the package runs."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import npmnv2

MODULES = sorted(m.name for m in pkgutil.walk_packages(npmnv2.__path__, "npmnv2.") if not m.name.endswith("__main__"))


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, extraglobs={"np": np}, optionflags=doctest.ELLIPSIS)
    assert failed == 0
