"""Grouped convolution: the channels are cut into groups that do not see each other.

It contains the other two: one group is the standard convolution, one group per channel is the depthwise one.
"""

from typing import NamedTuple

import numpy as np

from npmnv2.ops.padding import pad_backward, pad_forward
from npmnv2.shapes import Geometry, Padding, conv_geometry, is_int, taps
from npmnv2.validate import Array, check_array, check_dout, check_length


class GroupedConv2dCache(NamedTuple):
    """What `grouped_conv2d_backward` needs: the forward's arguments; see `Conv2dCache`."""

    x: Array  # (N, H, W, C)
    w: Array  # (KH, KW, C / groups, M)
    groups: int
    geometry: Geometry


def grouped_conv2d_forward(
    x: Array, w: Array, groups: int, stride: int = 1, padding: Padding = 0, dilation: int = 1
) -> tuple[Array, GroupedConv2dCache]:
    """Run `groups` standard convolutions side by side, each on its own slice of the channels.

    Group g reads input channels ``C/groups * g ...`` and writes output channels ``M/groups * g ...``::

        out[n, y, x, m] = sum_ijc  xp[n, s*y + d*i, s*x + d*j, C/groups * g + c] * w[i, j, c, m],   m in group g

    Parameters
    ----------
    x : ndarray of shape (N, H, W, C)
    w : ndarray of shape (KH, KW, C / groups, M)
        Filter m belongs to group ``floor(m / (M / groups))``, so it has only that group's C / groups input channels.
    groups : int
        Divides both C and M. 1 is the standard convolution; C the depthwise one (with M / C filters per channel).
    stride, padding, dilation
        As in `conv2d_forward`.

    Returns
    -------
    out : ndarray of shape (N, OH, OW, M)
    cache : GroupedConv2dCache

    Raises
    ------
    ValueError
        If `groups` does not divide C and M, or a shape does not fit.
    TypeError
        If `groups` is not an integer, `x` is not a float array, or `w` has another dtype.

    See Also
    --------
    conv2d_forward : one group.
    depthwise_conv2d_forward : as many groups as channels.

    Notes
    -----
    N*OH*OW * KH*KW * C*M / groups multiply-adds.

    References
    ----------
    .. [1] Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", 2012, section 3.2.

    Examples
    --------
    >>> x, w = np.ones((1, 1, 1, 4)), np.arange(4.0).reshape(1, 1, 2, 2)
    >>> grouped_conv2d_forward(x, w, groups=2)[0].ravel().tolist()      # 0 + 2, 1 + 3
    [2.0, 4.0]
    """
    x = check_array(x, "x", "N H W C")
    w = check_array(w, "w", "KH KW C/groups M", like=x)
    N, H, W, C = x.shape
    KH, KW, Cg, M = w.shape
    if not is_int(groups):
        raise TypeError(f"groups must be an integer; was {groups!r}")
    if groups < 1 or C % groups or M % groups:
        raise ValueError(f"groups must divide the {C} channels of x and the {M} filters of w; was {groups}")
    check_length(w, "w", 2, C // groups, "the channels of x divided by groups")
    geometry = conv_geometry(H, W, KH, KW, stride, padding, dilation)

    xp, _ = pad_forward(x, geometry.pads)
    out = np.zeros((N, geometry.OH, geometry.OW, M), x.dtype)  # (N, OH, OW, M)
    for i, j, seen in taps(geometry):
        tap = xp[seen]  # a view: (N, OH, OW, C)
        for c, m in _groups(C, M, groups):
            out[..., m] += tap[..., c] @ w[i, j, :, m]
    return out, GroupedConv2dCache(x, w, int(groups), geometry)


def grouped_conv2d_backward(dout: Array, cache: GroupedConv2dCache) -> tuple[Array, Array]:
    """Push a gradient back through a grouped convolution: `conv2d_backward`, group by group.

    Parameters, results and errors are those of `conv2d_backward`, with `dw` (KH, KW, C / groups, M).

    Notes
    -----
    2 * N*OH*OW * KH*KW * C*M / groups multiply-adds.

    References
    ----------
    .. [1] docs/derivations/convolutions.md, "Grouped convolution".

    Examples
    --------
    >>> x, w = np.ones((1, 1, 1, 4)), np.arange(4.0).reshape(1, 1, 2, 2)
    >>> out, cache = grouped_conv2d_forward(x, w, groups=2)
    >>> dx, dw = grouped_conv2d_backward(np.ones_like(out), cache)
    >>> dx.ravel().tolist()                       # group 0 goes back through w[..., 0], group 1 through w[..., 1]
    [0.0, 2.0, 1.0, 3.0]
    """
    x, w, groups, geometry = cache
    N, H, W, C = x.shape
    KH, KW, Cg, M = w.shape
    dout = check_dout(dout, (N, geometry.OH, geometry.OW, M), x)

    xp, pad_cache = pad_forward(x, geometry.pads)
    dxp = np.zeros(xp.shape, dout.dtype)  # (N, H + top + bottom, W + left + right, C)
    dw = np.zeros(w.shape, dout.dtype)  # (KH, KW, C / groups, M)
    for i, j, seen in taps(geometry):
        tap = xp[seen]
        for c, m in _groups(C, M, groups):
            # forward was: out[..., m] += tap[..., c] @ w[i, j, :, m]
            dw[i, j, :, m] = np.einsum("nyxc,nyxm->cm", tap[..., c], dout[..., m], optimize=True)
            dxp[seen][..., c] += dout[..., m] @ w[i, j, :, m].T
    return pad_backward(dxp, pad_cache), dw


def _groups(C: int, M: int, groups: int) -> list[tuple[slice, slice]]:
    """The slice of input channels and the slice of output channels of every group."""
    Cg, Mg = C // groups, M // groups
    return [(slice(g * Cg, (g + 1) * Cg), slice(g * Mg, (g + 1) * Mg)) for g in range(groups)]
