"""Small things that the kernels of several families need, each said once."""

import numpy as np

from npmnv2.kernels.jit import compile_function, compile_inline, compile_scalar

NATURAL = 0xFFFFFFFF  # `k & NATURAL` is k, and tells the compiler that it is not negative: no index counts from the end


@compile_scalar
def relu6(v, zero, six):
    """v between 0 and 6, given as numbers of its dtype. NaN stays NaN, and -0 becomes 0."""
    v = zero if v <= zero else v
    return six if v >= six else v


@compile_scalar
def let_through(dy, h, zero, six):
    """The backward of ReLU6: dy, but 0 where h is one of its bounds. NaN lets through."""
    return zero if h <= zero or h >= six else dy


@compile_inline
def merge_moments(mean, var, before, now, center, deviation, square):
    """Mean, and sum of squared deviations from it, of `before` values and `now` more (Chan): float64.

    Of the new ones `deviation` is the sum of their deviations from `center`, and `square` that of the squares of those:
    docs/derivations/batchnorm.md, "Statistics in pieces". Inline, so it is compiled with the options of its kernel.
    """
    drift = np.float64(deviation) / now
    delta = center + drift - mean
    var += square - drift * drift * now + delta * delta * before * now / (before + now)
    return mean + delta * now / (before + now), var


@compile_function
def all_finite(values):
    """Whether no value of a vector is infinite or NaN."""
    beyond = 0  # counted, since a loop that may stop early gets no vector instructions
    for k in range(values.shape[0]):
        if not abs(values[k]) < np.inf:
            beyond += 1
    return beyond == 0
