"""Is this gradient right? `compare.py` begins with an example; its numerical gradients are in `methods.py`.

`cases.py` is what the package checks of itself.
"""

from npmnv2.gradcheck.compare import check, check_layer
from npmnv2.gradcheck.methods import (
    adjoint_error,
    away_from_kinks,
    complex_step_gradient,
    directional_derivative,
    numerical_gradient,
    relative_error,
)

__all__ = [
    "adjoint_error",
    "away_from_kinks",
    "check",
    "check_layer",
    "complex_step_gradient",
    "directional_derivative",
    "numerical_gradient",
    "relative_error",
]
