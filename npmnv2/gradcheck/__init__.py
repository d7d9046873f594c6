"""Is this gradient right? `methods.py` finds out, for your own functions too; `cases.py` is what the package checks.

from npmnv2 import gradcheck
errors = gradcheck.check(my_forward, my_backward, x, w, names="xw")
"""

from npmnv2.gradcheck.methods import (
    adjoint_error,
    away_from_kinks,
    check,
    complex_step_gradient,
    numerical_gradient,
    relative_error,
)

__all__ = [
    "adjoint_error",
    "away_from_kinks",
    "check",
    "complex_step_gradient",
    "numerical_gradient",
    "relative_error",
]
