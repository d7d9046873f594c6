"""Kernels as plain Python: the same loops, slow, for arrays of a few values. Nothing compiles."""

import dis
import functools
import types

import numpy as np

from npmnv2.kernels.jit import Kernel

# Compiled by default, so that a test run compiles something: for float64, the last two for float32 as well.
SHORT = {"depthwise.loops", "copy", "sgd"}
SHORT_IN_BOTH = {"copy", "sgd"}


@functools.cache
def _globals(code):
    """The names of what a function does not define itself."""
    return {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}


def plain(kernel, **substitutes):
    """The Python source of a compiled kernel, runnable: helpers likewise, and any global replaced by a substitute."""
    loops = getattr(kernel, "py_func", kernel)
    scope = loops.__globals__ | {"List": list} | substitutes  # a list for compiled code takes compiled code to fill
    for name in _globals(loops.__code__):
        if hasattr(scope.get(name), "py_func"):
            scope[name] = plain(scope[name], **substitutes)
    held = [cell.cell_contents for cell in loops.__closure__ or ()]
    cells = tuple(types.CellType(plain(v, **substitutes) if hasattr(v, "py_func") else v) for v in held)
    return types.FunctionType(loops.__code__, scope, loops.__name__, loops.__defaults__, cells)


_plain = functools.cache(plain)


def run_in_python(patch):
    """Every kernel, whoever calls it, until the end of a monkeypatch."""
    patch.setattr(Kernel, "__call__", lambda kernel, *arguments: _plain(kernel)(*arguments))


def run_long_ones_in_python(patch, call=Kernel.__call__):
    """The kernels of the package that take long to compile, or would be compiled for float32."""

    def chosen(kernel, *arguments):
        if is_long(kernel, arguments):
            return _plain(kernel)(*arguments)
        return call(kernel, *arguments)

    patch.setattr(Kernel, "__call__", chosen)


def is_long(kernel, arguments):
    if kernel.py_func.__module__ == "one_pass_loops":  # of benchmarks/
        return True
    package, _, name = (kernel.py_func.__module__ or "").partition(".kernels.")
    if package != "npmnv2" or name in SHORT_IN_BOTH:  # a kernel that a test has made is no business of ours
        return False
    return name not in SHORT or any(a.dtype == np.float32 for a in arguments if isinstance(a, np.ndarray))
