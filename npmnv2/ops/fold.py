"""Batch norm at inference is a line, a convolution is linear: the two together are one convolution with a bias."""

import numpy as np

from npmnv2.ops.batchnorm import check_variance
from npmnv2.validate import Array, check_array, check_length, check_number


def fold_batchnorm(
    w: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float = 1e-5
) -> tuple[Array, Array]:
    """Move the batch norm after a convolution into its weights; what cannot move is a bias.

    For every output channel::

        scale    = gamma / sqrt(var + eps)
        w_folded = w * scale
        bias     = beta - mean * scale

    Then ``conv(x, w_folded) + bias`` is ``batchnorm_inference(conv(x, w), gamma, beta, mean, var, eps)``.

    One function for all three convolutions: in the layouts of this package the output channel is the last axis of
    every kernel, and the last axis is where NumPy broadcasts. (PyTorch's is the first, ``(M, C, KH, KW)``; Keras's
    depthwise kernel ``(KH, KW, C, 1)`` has it last but one. There each kind needs its own reshape.)

    Parameters
    ----------
    w : ndarray of shape (KH, KW, C, M), (KH, KW, C) or (C, M)
        A standard, depthwise or pointwise kernel; of a depthwise one the C output channels are its input channels.
    gamma, beta, mean, var : ndarray of shape (M,); (C,) after a depthwise convolution
        In the dtype of `w`; `var` not negative.
    eps : float
        The one the statistics were trained with.

    Returns
    -------
    w_folded : ndarray, the shape and dtype of `w`
    bias : ndarray, the shape and dtype of `beta`

    Raises
    ------
    TypeError
        If `w` is not a float array, or another argument has another dtype.
    ValueError
        If a length differs from the last axis of `w`, or `var` or `eps` is negative.

    Notes
    -----
    As many multiplications as weights, once; saved is a pass over every output of the convolution, at every inference.
    Computed in float64 and rounded once at the end, so a float32 kernel is as good as float32 can hold it. The sums of
    the convolution are rounded elsewhere than before: results agree to rounding, not to the bit.

    References
    ----------
    .. [1] docs/derivations/batchnorm.md, "Folding", which also says what cannot be folded.
    .. [2] Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
           inference", arXiv:1712.05877, section 3.2, equation (14).

    Examples
    --------
    >>> w, one = np.array([[3.0]]), np.ones(1)                  # 1x1, one channel: conv(x, w) is 3 * x
    >>> w_folded, bias = fold_batchnorm(w, 4 * one, 11 * one, mean=5 * one, var=4 * one, eps=0.0)
    >>> w_folded.tolist(), bias.tolist()                        # scale = 4 / sqrt(4) = 2: 3 * 2 and 11 - 5 * 2
    ([[6.0]], [1.0])
    """
    _check(w, gamma, beta, mean, var, eps)
    wide = np.promote_types(w.dtype, np.float64)  # or complex128, of a complex step
    scale = gamma / np.sqrt(var.astype(wide) + eps)  # (M,)
    w_folded = w * scale
    bias = beta - mean * scale
    return w_folded.astype(w.dtype), bias.astype(w.dtype)


def _check(w: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float) -> None:
    check_array(w, "w", "... M")
    for name, value in {"gamma": gamma, "beta": beta, "mean": mean, "var": var}.items():
        check_array(value, name, "M", like=w)
        check_length(value, name, 0, w.shape[-1], "the output channels: the last axis of w")
    check_variance(var)
    check_number(eps, "eps", 0)
