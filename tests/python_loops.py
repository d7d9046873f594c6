"""Kernels as plain Python: the same loops, slow, for arrays of a few values. Nothing compiles."""

import ctypes
import dis
import functools
import types

from npmnv2.kernels.jit import Kernel


def plain(kernel, **substitutes):
    """The Python source of a compiled kernel, runnable: helpers likewise, and any global replaced by a substitute."""
    loops = getattr(kernel, "py_func", kernel)
    scope = loops.__globals__ | {"_pointer": lambda address: ctypes.c_void_p(int(address))} | substitutes
    for name in {code.argval for code in dis.get_instructions(loops) if code.opname == "LOAD_GLOBAL"}:
        if hasattr(scope.get(name), "py_func"):
            scope[name] = plain(scope[name], **substitutes)
    return types.FunctionType(loops.__code__, scope, loops.__name__)


_plain = functools.cache(plain)


def run_in_python(patch):
    """Every kernel, whoever calls it, until the end of a monkeypatch."""
    patch.setattr(Kernel, "__call__", lambda kernel, *arguments: _plain(kernel)(*arguments))
