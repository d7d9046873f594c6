"""Where things are: output sizes, padding and the taps of a kernel. All index arithmetic of the package.

A convolution slides a `KH x KW` kernel over an image. The KH x KW pixels under it, which make one output pixel, are
that pixel's *window*. Each position `(i, j)` of the kernel is a *tap*. Instead of going from window to window, `ops/`
goes from tap to tap: over the whole image, tap `(i, j)` sees one shifted, strided view of the padded image, and that
view has exactly the shape of the output. Everything in `ops/` is written that way::

    for i, j, seen in taps(geometry):
        tap = xp[seen]                  # what tap (i, j) sees
        out += tap @ w[i, j]

so the arithmetic of sizes, strides, dilation and padding lives here, once, and the operations stay algebra.
"""

from collections.abc import Iterator
from numbers import Integral
from typing import NamedTuple

Pads = tuple[tuple[int, int], tuple[int, int]]
Padding = int | str | tuple[tuple[int, int], tuple[int, int]]


LARGEST = 2**31 - 1  # of a stride or a dilation: far beyond any image, and what compiled loops can count


class Geometry(NamedTuple):
    """Every size a convolution needs, worked out once by `conv_geometry` and kept in the caches."""

    H: int
    W: int
    KH: int
    KW: int
    stride: int
    dilation: int
    pads: Pads  # ((top, bottom), (left, right)), always explicit here
    OH: int
    OW: int


def output_size(size: int, kernel: int, stride: int = 1, before: int = 0, after: int = 0, dilation: int = 1) -> int:
    """How many windows fit along one axis.

    ::

        out = floor((size + before + after - reach) / stride) + 1,    reach = dilation * (kernel - 1) + 1

    The floor drops the last pixels when the stride does not divide what is left over.

    Parameters
    ----------
    size, kernel, stride, dilation : int
        Pixels along the axis, taps along it, the step between windows, the step between taps.
    before, after : int
        Zeros added on the two sides.

    Returns
    -------
    int
        The number of windows, at least 1.

    Raises
    ------
    ValueError
        If the kernel's reach is larger than the padded axis, or a size is less than 1.
    TypeError
        If a size is not an integer.

    References
    ----------
    .. [1] Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285,
           relationships 6 and 12.

    Examples
    --------
    >>> output_size(224, kernel=3, stride=2, before=1, after=1)
    112
    >>> output_size(5, kernel=3, dilation=2)      # taps at 0, 2, 4: one window
    1
    """
    _check_sizes(size=size, kernel=kernel, stride=stride, dilation=dilation)
    reach = dilation * (kernel - 1) + 1
    padded = before + size + after
    if reach > padded:
        raise ValueError(
            f"kernel must fit the padded image: it reaches over {reach} pixels "
            f"(kernel {kernel}, dilation {dilation}), the padded axis has {padded}"
        )
    return (padded - reach) // stride + 1


def same_padding(size: int, kernel: int, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    """The zeros TensorFlow's ``padding="same"`` adds before and after one axis.

    ::

        out   = ceil(size / stride)
        total = max((out - 1) * stride + reach - size, 0)
        before, after = floor(total / 2), total - floor(total / 2)

    The odd zero goes *after*. For a 3x3 kernel at stride 2 this is (0, 1) on an even size and (1, 1) on an odd one,
    where PyTorch's ``padding=1`` is (1, 1) on both: the two frameworks look at different pixels, and a checkpoint
    from one is subtly wrong under the padding of the other (docs/layouts.md).

    Parameters
    ----------
    size, kernel, stride, dilation : int
        As in `output_size`.

    Returns
    -------
    before, after : int

    References
    ----------
    .. [1] TensorFlow, `tf.nn` API guide, "Notes on padding".

    Examples
    --------
    >>> same_padding(224, kernel=3, stride=2), same_padding(225, kernel=3, stride=2)
    ((0, 1), (1, 1))
    >>> same_padding(7, kernel=1, stride=2)       # never negative
    (0, 0)
    """
    _check_sizes(size=size, kernel=kernel, stride=stride, dilation=dilation)
    reach = dilation * (kernel - 1) + 1
    out = -(-size // stride)
    total = max((out - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def resolve_padding(padding: Padding, H: int, W: int, KH: int, KW: int, stride: int = 1, dilation: int = 1) -> Pads:
    """Turn any of the three ways to write padding into ``((top, bottom), (left, right))``.

    Parameters
    ----------
    padding : int, pair of pairs, "same" or "even"
        `p` is `p` zeros on all four sides; ``((top, bottom), (left, right))`` says each side; ``"same"`` is
        `same_padding` on each axis. ``"even"`` pads every size as ``"same"`` pads one that the stride divides, as the
        strided layers of Keras's MobileNetV1 do: at stride 2 ((0, 1), (0, 1)) for a 3x3 kernel.
    H, W, KH, KW, stride, dilation : int
        What ``"same"`` needs to know.

    Returns
    -------
    ((top, bottom), (left, right)) : pair of pairs of int

    Raises
    ------
    ValueError
        If `padding` is a different word, has a different structure, or is negative.
    TypeError
        If `padding` is not made of integers.

    Examples
    --------
    >>> resolve_padding(1, 8, 8, 3, 3)
    ((1, 1), (1, 1))
    >>> resolve_padding("same", 8, 9, 3, 3, stride=2)
    ((0, 1), (1, 1))
    >>> resolve_padding("even", 8, 9, 3, 3, stride=2)
    ((0, 1), (0, 1))
    """
    if isinstance(padding, str):
        if padding == "even":
            H, W = stride, stride  # any size that the stride divides has the same zeros
        elif padding != "same":
            raise ValueError(
                f'padding must be an int, ((top, bottom), (left, right)), "same" or "even"; was {padding!r}'
            )
        return same_padding(H, KH, stride, dilation), same_padding(W, KW, stride, dilation)
    if is_int(padding):
        padding = ((padding, padding), (padding, padding))  # type: ignore[assignment]
    try:
        (top, bottom), (left, right) = padding  # type: ignore[misc]
    except (TypeError, ValueError):
        raise ValueError(f'padding must be an int, ((top, bottom), (left, right)) or "same"; was {padding!r}') from None
    sides = (top, bottom, left, right)
    if not all(is_int(side) for side in sides):
        raise TypeError(f"padding must be made of integers; was {padding!r}")
    if min(sides) < 0:
        raise ValueError(f"padding must not be negative; was {padding!r}")
    return (int(top), int(bottom)), (int(left), int(right))


def conv_geometry(
    H: int, W: int, KH: int, KW: int, stride: int = 1, padding: Padding = 0, dilation: int = 1
) -> Geometry:
    """Check stride, padding and dilation, and work out the whole `Geometry` of a convolution.

    Parameters
    ----------
    H, W, KH, KW : int
        Image and kernel sizes, in pixels and taps.
    stride, padding, dilation
        As in `ops.conv2d_forward`.

    Returns
    -------
    Geometry

    Raises
    ------
    ValueError
        If a size, `stride` or `dilation` is less than 1, one of the last two beyond `LARGEST`, `padding` malformed, or
        the kernel larger than the padded image.
    TypeError
        If one of them is not an integer.

    Examples
    --------
    >>> g = conv_geometry(224, 224, 3, 3, stride=2, padding=1)
    >>> g.OH, g.OW, g.pads
    (112, 112, ((1, 1), (1, 1)))
    """
    _check_sizes(H=H, W=W, KH=KH, KW=KW, stride=stride, dilation=dilation)
    for name, value in (("stride", stride), ("dilation", dilation)):
        if value > LARGEST:
            raise ValueError(f"{name} must be at most {LARGEST}; was {value}")
    stride, dilation = int(stride), int(dilation)  # a NumPy uint8 would wrap around below
    pads = resolve_padding(padding, H, W, KH, KW, stride, dilation)
    OH = output_size(H, KH, stride, *pads[0], dilation)
    OW = output_size(W, KW, stride, *pads[1], dilation)
    return Geometry(H, W, KH, KW, stride, dilation, pads, OH, OW)


def taps(geometry: Geometry) -> Iterator[tuple[int, int, tuple[slice, slice, slice]]]:
    """Yield every tap of the kernel, and where in the padded image it looks.

    In the window of output pixel `(y, x)`, tap `(i, j)` lies at padded pixel
    ``(stride * y + dilation * i, stride * x + dilation * j)``. For a fixed tap, `y` and `x` running over the whole
    output make a strided slice of shape `(OH, OW)`. One tap sees no pixel twice, so ``dxp[seen] += ...``
    is exact (NumPy would add only once to an index that occurs twice). Two taps may see the same pixel: their views
    overlap, which is why it is ``+=``.

    Parameters
    ----------
    geometry : Geometry

    Yields
    ------
    i, j : int
        The tap.
    seen : tuple of slices
        What it sees: indexes a padded image `(N, H + top + bottom, W + left + right, C)` to give `(N, OH, OW, C)`, as
        a view.

    Examples
    --------
    >>> g = conv_geometry(5, 5, 2, 1, stride=2)
    >>> [(i, j, seen[1]) for i, j, seen in taps(g)]
    [(0, 0, slice(0, 3, 2)), (1, 0, slice(1, 4, 2))]
    """
    span_h = geometry.stride * (geometry.OH - 1) + 1
    span_w = geometry.stride * (geometry.OW - 1) + 1
    for i in range(geometry.KH):
        for j in range(geometry.KW):
            y0, x0 = geometry.dilation * i, geometry.dilation * j
            rows = slice(y0, y0 + span_h, geometry.stride)
            cols = slice(x0, x0 + span_w, geometry.stride)
            yield i, j, (slice(None), rows, cols)


def make_divisible(value: float, divisor: int = 8, minimum: int | None = None) -> int:
    """Round a channel count to a multiple of `divisor`, but never down by more than 10 %.

    ::

        rounded = max(minimum, floor((value + divisor / 2) / divisor) * divisor)
        rounded += divisor   if rounded < 0.9 * value

    A width multiplier gives fractional channel counts; hardware likes multiples of 8. Plain rounding could shrink a
    narrow layer a lot (1.4 * 8 = 11.2 would become 8, losing 29 %), so the 90 % rule steps back up (to 16).

    Parameters
    ----------
    value : float
        The channel count wanted, usually ``width_mult * c``.
    divisor : int
        The multiple.
    minimum : int, optional
        Smallest result; `divisor` itself by default.

    Returns
    -------
    int

    References
    ----------
    .. [1] tensorflow/models, research/slim/nets/mobilenet/mobilenet.py, `_make_divisible`: the rule is in the
           authors' code, not in the papers; torchvision, timm and Keras copied it.

    Examples
    --------
    >>> [make_divisible(1.4 * c) for c in (32, 16, 24)], make_divisible(11.2)
    ([48, 24, 32], 16)
    """
    _check_sizes(divisor=divisor)
    if not 0 < value < float("inf"):
        raise ValueError(f"value must be more than 0 and finite; was {value}")
    if minimum is None:
        minimum = divisor
    rounded = max(minimum, int(value + divisor / 2) // divisor * divisor)
    if rounded < 0.9 * value:
        rounded += divisor
    return rounded


def _check_sizes(**sizes: int) -> None:
    for name, value in sizes.items():
        if not is_int(value):
            raise TypeError(f"{name} must be an integer; was {value!r}")
        if value < 1:
            raise ValueError(f"{name} must be at least 1; was {value}")


def is_int(value: object) -> bool:
    """True for Python and NumPy integers, false for bool and everything else.

    Examples
    --------
    >>> is_int(3), is_int(True), is_int(3.0)
    (True, False, False)
    """
    return type(value) is int or (isinstance(value, Integral) and not isinstance(value, bool))  # quick for most
