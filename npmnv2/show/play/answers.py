"""The arrays of the page, and what NumPy computes of them for every position of its switches."""

import itertools
import math
from typing import Any

import numpy as np

from npmnv2 import cost, ops
from npmnv2.models.mobilenet_v2 import HEAD, ROWS, STEM, plan
from npmnv2.shapes import Padding, conv_geometry
from npmnv2.show.figures.blocks import CLASSIC
from npmnv2.validate import Array

KERNEL, C, M = 3, 2, 3  # taps along a side, channels in, channels out: no two axes that may be taken for each other
SIDES, STRIDES, DILATIONS = (6, 5), (1, 2), (1, 2)  # of an image of even and one of odd size
PADDINGS: dict[str, Padding] = {"none": 0, "PyTorch": 1, "TensorFlow": "same"}
OPERATIONS: dict[str, tuple[Any, Any]] = {
    "standard": (ops.conv2d_forward, ops.conv2d_backward),
    "depthwise": (ops.depthwise_conv2d_forward, ops.depthwise_conv2d_backward),
    "pointwise": (ops.pointwise_conv2d_forward, ops.pointwise_conv2d_backward),
}

# The positions of the sliders. `test_play.py` compares all of the networks, and the layers of these corners.
WIDTHS = tuple(round(0.05 * k, 2) for k in range(5, 29))
RESOLUTIONS = tuple(range(96, 289, 32))
LAYERS = tuple(itertools.product((7, 56), (8, 192), (24, 512), (1, 3, 5), (1, 6)))  # side, C, M, K, t


def arrays() -> dict[str, Any]:
    """Image, weights and the gradient that arrives: small whole numbers, and few results of three signs."""
    side = max(SIDES)
    return {
        "x": _mixed((side, side, C), 4, 0),
        "dout": _mixed((side, side, M), 4, -1),
        "w": {
            "standard": _mixed((KERNEL, KERNEL, C, M), 4, -1),
            "depthwise": _mixed((KERNEL, KERNEL, C), 4, -1),
            "pointwise": np.array([[1.0, -1.0, 2.0], [2.0, 1.0, -1.0]]),
        },
    }


def _mixed(shape: tuple[int, ...], size: int, least: int) -> Array:
    """The numbers from `least` on, `size` different ones, in an order without a pattern: the same on every machine."""
    n = np.arange(math.prod(shape)).reshape(shape)
    return ((n**3 + 3 * n**2 + n) % 73 % size + least).astype(np.float64)


def settings() -> list[dict[str, Any]]:
    """Every position of the switches of the convolution. A pointwise one has neither window, stride nor padding."""
    found = []
    for side in SIDES:
        for kind in ("standard", "depthwise"):
            for stride, padding, dilation in itertools.product(STRIDES, PADDINGS, DILATIONS):
                position = {"side": side, "kind": kind, "stride": stride, "padding": padding, "dilation": dilation}
                found.append(position)
        found.append({"side": side, "kind": "pointwise", "stride": 1, "padding": "none", "dilation": 1})
    return found


def computed(setting: dict[str, Any]) -> dict[str, Any]:
    """What the operations make of the arrays: out, dx, dw, the padding, multiply-adds."""
    given, kind, side = arrays(), setting["kind"], setting["side"]
    forward, backward = OPERATIONS[kind]
    places: Any = ()  # a pointwise convolution has none
    pads = 0, 0
    if kind != "pointwise":
        places = setting["stride"], PADDINGS[setting["padding"]], setting["dilation"]
        pads = conv_geometry(side, side, KERNEL, KERNEL, *places).pads[0]
    x, w = given["x"][None, :side, :side], given["w"][kind]
    out, cache = forward(x, w, *places)
    dout = given["dout"][None, : out.shape[1], : out.shape[2], : out.shape[3]]
    dx, dw = backward(dout, cache)
    madds = out.shape[1] * out.shape[2] * w.size  # every weight is used once at every pixel of the output
    return {"out": _whole(out[0]), "dx": _whole(dx[0]), "dw": _whole(dw.ravel()), "pads": pads, "madds": madds}


def _whole(array: Array) -> Any:
    return array.astype(int).tolist()


def expected() -> dict[str, Any]:
    """Everything that the page has with it: what it shows, and what it must find."""
    given = arrays()
    w = {kind: _whole(values) for kind, values in given["w"].items()}
    return {
        "kernel": KERNEL,
        "x": _whole(given["x"]),
        "dout": _whole(given["dout"]),
        "w": w,
        "settings": [setting | computed(setting) for setting in settings()],
        "rows": ROWS,
        "stem": STEM,
        "head": HEAD,
        "classic": CLASSIC,
        "blocks": _blocks(),
        "widths": WIDTHS,
        "resolutions": RESOLUTIONS,
        "networks": [
            [width, resolution, *_sums(cost.mobilenet_v2(width, resolution))]
            for width, resolution in itertools.product(WIDTHS, RESOLUTIONS)
        ],
        "layers": [_layer(*sizes) for sizes in LAYERS],
    }


def _sums(layers: list[cost.LayerCost]) -> tuple[int, int]:
    total = cost.total(layers)
    return total.parameters, total.madds


def _blocks() -> list[dict[str, Any]]:
    """The 17 blocks of MobileNetV2 1.0 at 224x224, with what each costs, and what the classic one costs beside it."""
    layers, found = cost.mobilenet_v2(), []
    for block in plan()[1]:
        own = [layer for layer in layers if layer.name.startswith(f"{block.name}.")]
        side = own[0].in_shape[0]
        wide, narrow = CLASSIC[0], CLASSIC[1]
        classic = [
            cost.convolution("pointwise", side, side, wide, narrow),
            cost.convolution("standard", side, side, narrow, narrow),
            cost.convolution("pointwise", side, side, narrow, wide),
        ]
        found.append(
            {
                "name": block.name,
                "side": side,
                "C": block.in_channels,
                "M": block.out_channels,
                "t": block.t,
                "stride": block.stride,
                "costs": [[layer.parameters, layer.madds] for layer in own],
                "shortcut": own[-1].shortcut != "",
                "classic": _sums(classic),
            }
        )
    return found


def _layer(side: int, C: int, M: int, K: int, t: int) -> dict[str, Any]:
    """Standard against separable, and an inverted residual with the same ends."""
    standard = cost.convolution("standard", side, side, C, M, K, 1, K // 2)
    pair = cost.separable(side, side, C, M, K, 1, K // 2)
    block = [cost.convolution("pointwise", side, side, C, t * C)] if t > 1 else []
    block.append(cost.convolution("depthwise", side, side, t * C, t * C, K, 1, K // 2))
    block.append(cost.convolution("pointwise", side, side, t * C, M))
    return {
        "sizes": [side, C, M, K, t],
        "standard": [standard.parameters, standard.madds],
        "separable": [[layer.parameters, layer.madds] for layer in pair],
        "block": [[layer.parameters, layer.madds] for layer in block],
        "gain": cost.separable_gain(M, K),
    }
