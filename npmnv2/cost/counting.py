"""What other tools count, as named conventions: eleven figures for one network, each to the unit.

"The FLOPs of MobileNetV2" is 300 million or 615 million, depending on who counted. Every tool adds up the same few
quantities, each with a factor of its own, and the factors are all that a convention is.
"""

import difflib
from collections.abc import Sequence
from typing import NamedTuple

from npmnv2.cost.layer import LayerCost


class Convention(NamedTuple):
    """How often each quantity is counted.

    Examples
    --------
    >>> from npmnv2.cost import mobilenet_v2
    >>> count(mobilenet_v2(), Convention("mine", "two operations a multiply-add, and the bias", madd=2, bias=1))
    601549544
    """

    name: str
    why: str  # in one line, for people
    madd: int = 1  # a multiply-add of a convolution or a linear layer
    bias: int = 0  # an addition of a bias, at every output
    batchnorm: int = 0  # an element that a batch norm normalises
    batchnorm_parameter: int = 0  # gamma and beta of a channel, once an image
    relu6: int = 0  # an element that a ReLU6 clips
    pool: int = 0  # an element that the global average pool reads
    unit: int = 1  # the total is printed in these units,
    rounded: bool = False  # rounded to them or, if not, cut off


_ALL = (
    Convention("paper", "multiply-adds of convolutions and linear layers, nothing else"),
    Convention("readme", "the same in whole millions, cut off: TF-slim's tables", unit=10**6),
    Convention("torchvision", "the same in thousandths of a billion: 'GFLOPS', yet MAdds", unit=10**6, rounded=True),
    Convention("with-bias", "the same and one for each bias", bias=1),
    Convention("with-batchnorm", "the same and two an element of batch norm: scale and shift", batchnorm=2),
    Convention("times-two", "two operations a multiply-add: a product and a sum", madd=2),
    Convention("ptflops-aten", "ptflops 0.7, aten: and the classifier's bias", bias=1),
    Convention("torchinfo", "torchinfo 1.8: each parameter of batch norm and bias once", bias=1, batchnorm_parameter=1),
    Convention("fvcore", "fvcore 0.1: two an element of batch norm, one of the pool", batchnorm=2, pool=1),
    Convention("ptflops", "ptflops 0.7: as fvcore, and each ReLU6 and bias", batchnorm=2, relu6=1, pool=1, bias=1),
    Convention("thop", "thop 0.1: four an element of batch norm, gamma and beta apart", batchnorm=4),
    Convention("flopcounter", "torch's FlopCounterMode: two operations a multiply-add", madd=2),
    Convention("calflops", "calflops 0.3, FLOPs: two a MAdd, the rest as fvcore", madd=2, batchnorm=2, pool=1),
    Convention("calflops-macs", "calflops 0.3, MACs: as the paper"),
)
CONVENTIONS = {convention.name: convention for convention in _ALL}


class Quantities(NamedTuple):
    """What can be counted in a network, for one image; a `Convention` weighs these.

    Examples
    --------
    >>> from npmnv2.cost import mobilenet_v2
    >>> quantities(mobilenet_v2())          # doctest: +NORMALIZE_WHITESPACE
    Quantities(madd=300774272, bias=1000, batchnorm=6678112, batchnorm_parameter=34112, relu6=6105792, pool=62720)
    """

    madd: int
    bias: int
    batchnorm: int
    batchnorm_parameter: int
    relu6: int
    pool: int


def quantities(layers: Sequence[LayerCost]) -> Quantities:
    """Add up what can be counted, from the table of layers alone.

    Parameters
    ----------
    layers : sequence of LayerCost
        In the order they run: a linear layer after a convolution has the global pool before it.

    Returns
    -------
    Quantities
    """
    each = [quantity for _, quantity in _by_layer(layers)]
    return Quantities(*(sum(getattr(quantity, what) for quantity in each) for what in Quantities._fields))


def count(layers: Sequence[LayerCost], convention: str | Convention = "paper") -> int:
    """The operations of a network, or of any sequence of layers, as one tool or paper counts them.

    Parameters
    ----------
    layers : sequence of LayerCost
    convention : str or Convention
        A key of `CONVENTIONS`, or one of your own.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If there is no convention of that name.

    Examples
    --------
    >>> from npmnv2.cost import mobilenet_v2
    >>> count(mobilenet_v2()), count(mobilenet_v2(), "thop"), count(mobilenet_v2(), "readme")
    (300774272, 327486720, 300000000)
    """
    convention = find(convention)
    exact = _weigh(quantities(layers), convention)
    half = convention.unit // 2 if convention.rounded else 0
    return (exact + half) // convention.unit * convention.unit


def count_each(layers: Sequence[LayerCost], convention: str | Convention = "paper") -> list[tuple[str, int]]:
    """The same, apart: the name of every layer, "pool" among them, and its operations, neither rounded nor cut off.

    Parameters
    ----------
    layers, convention
        As in `count`.

    Returns
    -------
    list of (str, int)

    Raises
    ------
    ValueError
        If there is no convention of that name.

    Examples
    --------
    >>> from npmnv2.cost import mobilenet_v2
    >>> count_each(mobilenet_v2(), "fvcore")[-3:]
    [('head', 20195840), ('pool', 62720), ('fc', 1280000)]
    """
    convention = find(convention)
    return [(name, _weigh(q, convention)) for name, q in _by_layer(layers)]


def find(convention: str | Convention) -> Convention:
    """The convention of that name.

    Raises
    ------
    ValueError
        If there is none.

    Examples
    --------
    >>> find("torchinfo").batchnorm_parameter
    1
    >>> find("fcvore")
    Traceback (most recent call last):
        ...
    ValueError: convention must be one of paper, ..., calflops-macs; was 'fcvore', did you mean 'fvcore'?
    """
    if isinstance(convention, Convention):
        return convention
    if convention not in CONVENTIONS:
        near = difflib.get_close_matches(str(convention), CONVENTIONS, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"convention must be one of {', '.join(CONVENTIONS)}; was {convention!r}{hint}")
    return CONVENTIONS[convention]


def _by_layer(layers: Sequence[LayerCost]) -> list[tuple[str, Quantities]]:
    rows: list[tuple[str, Quantities]] = []
    before: LayerCost | None = None
    for layer in layers:
        if layer.kind == "linear" and before is not None and before.kind != "linear":
            rows.append(("pool", Quantities(0, 0, 0, 0, 0, before.outputs)))
        pixels = layer.out_shape[0] * layer.out_shape[1]
        quantity = Quantities(
            madd=layer.madds,
            bias=layer.bias * pixels,
            batchnorm=layer.batchnorm * pixels,
            batchnorm_parameter=2 * layer.batchnorm,
            relu6=layer.outputs if layer.relu6 else 0,
            pool=0,
        )
        rows.append((layer.name, quantity))
        before = layer
    return rows


def _weigh(quantity: Quantities, convention: Convention) -> int:
    return sum(number * getattr(convention, what) for what, number in quantity._asdict().items())
