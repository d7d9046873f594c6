"""What one layer costs, from its shape alone: parameters, multiply-adds, bytes."""

from typing import NamedTuple

from npmnv2.shapes import Padding, conv_geometry
from npmnv2.validate import check_int

KINDS = ("standard", "grouped", "depthwise", "pointwise", "linear")
FLOAT32 = 4  # bytes


class LayerCost(NamedTuple):
    """The cost of one convolution or linear layer, for one image.

    Examples
    --------
    >>> layer = convolution("pointwise", 7, 7, 320, 1280)          # the head of MobileNetV2
    >>> layer.madds, layer.backward_madds, layer.bytes, round(layer.intensity, 1)
    (20070400, 40140800, 1952000, 10.3)
    """

    name: str
    kind: str  # one of KINDS
    in_shape: tuple[int, int, int]  # (H, W, C)
    out_shape: tuple[int, int, int]  # (OH, OW, M)
    stride: int
    madds: int
    weights: int  # numbers in the kernel
    batchnorm: int  # channels of the batch norm that follows, 0 if none
    bias: int
    kernel: int = 1
    pads: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))  # ((top, bottom), (left, right))
    groups: int = 1
    relu6: bool = False  # whether one follows
    shortcut: str = ""  # the layer whose input is added to this one's output

    @property
    def inputs(self) -> int:
        """Numbers read: H*W*C."""
        H, W, C = self.in_shape
        return H * W * C

    @property
    def outputs(self) -> int:
        """Numbers written: OH*OW*M."""
        OH, OW, M = self.out_shape
        return OH * OW * M

    @property
    def parameters(self) -> int:
        """Trainable numbers: weights, bias, and batch norm's gamma and beta."""
        return self.weights + self.bias + 2 * self.batchnorm

    @property
    def variables(self) -> int:
        """Parameters and batch norm's running mean and variance: what a checkpoint stores."""
        return self.parameters + 2 * self.batchnorm

    @property
    def backward_madds(self) -> int:
        """Of dx and dw: every product of the forward sends the gradient to both of its factors, so twice `madds`.

        It is rule 1 of docs/derivations/README.md, "What a gradient is". The first layer of a network can save half of
        it: nobody needs the gradient of the image.
        """
        return 2 * self.madds

    @property
    def weight_bytes(self) -> int:
        """Of the kernel and the bias."""
        return FLOAT32 * (self.weights + self.bias)

    @property
    def activation_bytes(self) -> int:
        """Of the input and the output."""
        return FLOAT32 * (self.inputs + self.outputs)

    @property
    def bytes(self) -> int:
        """Least traffic of the forward: read the input and the weights once, write the output once."""
        return self.activation_bytes + self.weight_bytes

    @property
    def backward_bytes(self) -> int:
        """Least traffic of the backward: read x, w and dout once, write dx, dw and db once."""
        return FLOAT32 * (2 * self.inputs + self.outputs + 2 * self.weights + self.bias)

    @property
    def intensity(self) -> float:
        """Multiply-adds a byte, forward. Few mean that memory, not arithmetic, sets the time."""
        return self.madds / self.bytes

    @property
    def backward_intensity(self) -> float:
        """Multiply-adds a byte, backward."""
        return self.backward_madds / self.backward_bytes


def convolution(
    kind: str,
    H: int,
    W: int,
    C: int,
    M: int,
    kernel: int = 3,
    stride: int = 1,
    padding: Padding = 1,
    *,
    groups: int = 1,
    name: str = "",
    batchnorm: bool = True,
    bias: bool = False,
    relu6: bool = True,
    shortcut: str = "",
) -> LayerCost:
    """The cost of one convolution.

    With K taps on a side, ``kernel``::

        standard    OH*OW * K*K * C*M          multiply-adds,   K*K * C*M           weights
        grouped     OH*OW * K*K * C*M/groups                    K*K * C*M/groups
        depthwise   OH*OW * K*K * C                             K*K * C
        pointwise   OH*OW *       C*M                                 C*M

    Every weight is used once at every output pixel, so the first column is OH*OW times the second; a tap on the padding
    counts like any other. Backward, see `LayerCost.backward_madds`.

    Parameters
    ----------
    kind : "standard", "grouped", "depthwise" or "pointwise"
    H, W, C : int
        Input size and channels.
    M : int
        Output channels; C for a depthwise one.
    kernel, stride, padding
        A pointwise convolution has one tap, moves by one pixel and needs no padding: `kernel` and `padding` are not
        used. With a stride it is a standard one of ``kernel=1, padding=0``.
    groups : int
        Of a grouped convolution; must divide C and M.
    name : str
    batchnorm : bool
        Whether a batch norm follows, which adds two parameters and two statistics a channel.
    bias : bool
        Whether there is a bias, one number a channel. In front of a batch norm it would do nothing.
    relu6 : bool
        Whether a ReLU6 follows.
    shortcut : str
        The name of the layer whose input is added to the output, if any.

    Returns
    -------
    LayerCost

    Raises
    ------
    ValueError
        For an unknown kind, a depthwise M other than C, groups that do not divide, a pointwise stride other than 1, or
        sizes that do not fit.
    TypeError
        If a size is not an integer.

    References
    ----------
    .. [1] Howard et al., "MobileNets", arXiv:1704.04861, equations (2) to (5).
    .. [2] Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", 2012, for groups.

    Examples
    --------
    >>> standard = convolution("standard", 14, 14, 512, 512)        # V1, table 3, first row
    >>> depthwise, pointwise = convolution("depthwise", 14, 14, 512, 512), convolution("pointwise", 14, 14, 512, 512)
    >>> standard.madds, depthwise.madds + pointwise.madds
    (462422016, 52283392)
    """
    if kind not in KINDS[:-1]:
        raise ValueError(f'kind must be "standard", "grouped", "depthwise" or "pointwise"; was {kind!r}')
    H, W, C, M = check_int(H, "H"), check_int(W, "W"), check_int(C, "C"), check_int(M, "M")
    kernel, groups = check_int(kernel, "kernel"), check_int(groups, "groups")
    if kind == "depthwise" and M != C:
        raise ValueError(f"M must be C, {C}, for a depthwise convolution; was {M}")
    if groups != 1 and kind != "grouped":
        raise ValueError(f"groups must be 1 for a {kind} convolution; was {groups}")
    if C % groups or M % groups:
        raise ValueError(f"groups must divide C, {C}, and M, {M}; was {groups}")
    if kind == "depthwise":
        groups = C
    if kind == "pointwise":
        if check_int(stride, "stride") != 1:
            raise ValueError(f"stride must be 1 for a pointwise convolution; was {stride}")
        kernel, padding = 1, 0
    geometry = conv_geometry(H, W, kernel, kernel, stride, padding)
    OH, OW = geometry.OH, geometry.OW
    weights = kernel * kernel * C * M // groups
    return LayerCost(
        name,
        kind,
        (H, W, C),
        (OH, OW, M),
        geometry.stride,
        OH * OW * weights,
        weights,
        M if batchnorm else 0,
        M if bias else 0,
        kernel,
        geometry.pads,
        groups,
        relu6,
        shortcut,
    )


def linear(C: int, M: int, *, bias: bool = True, name: str = "") -> LayerCost:
    """The cost of a linear layer: C*M multiply-adds and weights, M numbers of bias.

    Parameters
    ----------
    C, M : int
        Features in and out.
    bias : bool
    name : str

    Returns
    -------
    LayerCost

    Raises
    ------
    ValueError, TypeError
        If `C` or `M` is not an integer of at least 1.

    Examples
    --------
    >>> layer = linear(1280, 1000)
    >>> layer.madds, layer.parameters, layer.intensity < 0.25       # every weight is read for one multiply-add
    (1280000, 1281000, True)
    """
    C, M = check_int(C, "C"), check_int(M, "M")
    return LayerCost(name, "linear", (1, 1, C), (1, 1, M), 1, C * M, C * M, 0, M if bias else 0)


def separable(
    H: int, W: int, C: int, M: int, kernel: int = 3, stride: int = 1, padding: Padding = 1, *, name: str = ""
) -> list[LayerCost]:
    """The two convolutions that replace a standard one: depthwise, which carries the stride, and pointwise.

    Each has its batch norm and ReLU6, as in MobileNetV1.

    Parameters
    ----------
    H, W, C, M, kernel, stride, padding
        As in `convolution`.
    name : str
        Of the block; its layers are called ``<name>.dw`` and ``<name>.pw``.

    Returns
    -------
    list of two LayerCost

    Raises
    ------
    ValueError, TypeError
        As `convolution`.

    References
    ----------
    .. [1] Howard et al., "MobileNets", arXiv:1704.04861, equation (5).

    Examples
    --------
    >>> [layer.madds for layer in separable(14, 14, 512, 512)]
    [903168, 51380224]
    """
    prefix = f"{name}." if name else ""
    dw = convolution("depthwise", H, W, C, C, kernel, stride, padding, name=f"{prefix}dw")
    OH, OW, _ = dw.out_shape
    return [dw, convolution("pointwise", OH, OW, C, M, name=f"{prefix}pw")]


def separable_gain(M: int, kernel: int = 3) -> float:
    """How many times the multiply-adds of a separable pair a standard convolution needs; its weights likewise.

    ::

        K*K*C*M / (K*K*C + C*M)  =  1 / (1/M + 1/(K*K)),    K = kernel

    It depends neither on the image, nor on the stride, nor on C. K*K is its limit for many channels.

    Parameters
    ----------
    M : int
        Output channels.
    kernel : int

    Returns
    -------
    float

    Raises
    ------
    ValueError, TypeError
        If one of them is not an integer of at least 1.

    References
    ----------
    .. [1] Howard et al., "MobileNets", arXiv:1704.04861, section 3.1: its inverse, in its letters 1/N + 1/D_K^2.

    Examples
    --------
    >>> [round(separable_gain(M), 2) for M in (16, 128, 1024)]
    [5.76, 8.41, 8.92]
    """
    M, taps = check_int(M, "M"), check_int(kernel, "kernel") ** 2
    return M * taps / (M + taps)
