"""The comparison with PyTorch, our half: which cases there are, their inputs, and what this package computes for them.

`make_golden.py` is the other half: functions of the same names that compute the same dictionaries with PyTorch. What it
returned once lies in the .npz files here, so `test_golden.py` needs no PyTorch; `test_oracle_torch.py` runs both halves
live. Everything is float64, and every array in a result has *our* layout.

Inputs are not stored. Each array has a name, and its values follow from the name (`draw`).
"""

import math
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from cases import operation

from npmnv2 import mobilenet_v2
from npmnv2.gradcheck import relative_error
from npmnv2.nn import optim
from npmnv2.nn.base import Layer
from npmnv2.nn.blocks import ConvBNReLU6, InvertedResidual
from npmnv2.nn.layers import BatchNorm, BatchNormReLU6, Conv2d, GlobalAvgPool, Linear, PointwiseConv2d, Sequential
from npmnv2.shapes import Padding

Array = np.ndarray[Any, np.dtype[Any]]
Results = dict[str, Array]


def draw(name: str, shape: tuple[int, ...], low: float = -1.0, high: float = 1.0) -> Array:
    """Uniform numbers that depend on the name alone.

    From the raw bits of PCG64, which NumPy promises never to change; `Generator.normal` and its like may.
    """
    raw = np.random.PCG64(zlib.crc32(name.encode())).random_raw(math.prod(shape))
    return low + (high - low) * ((raw >> np.uint64(11)) * 2.0**-53).reshape(shape)


# -- single operations


class Conv(NamedTuple):
    """A convolution: standard (1 group), depthwise (C groups, M = C), grouped, pointwise (1x1), by its shapes."""

    name: str
    x: tuple[int, int, int, int]  # (N, H, W, C)
    w: tuple[int, int, int, int]  # (KH, KW, C / groups, M)
    groups: int = 1
    stride: int = 1
    pads: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    dilation: int = 1
    padding: str | None = None  # the word that must mean `pads`, if there is one


CONVS = (
    Conv("conv2d", (2, 6, 5, 3), (3, 2, 3, 4)),
    Conv("conv2d stride 2, padding 1", (2, 8, 7, 3), (3, 3, 3, 4), stride=2, pads=((1, 1), (1, 1))),
    Conv("conv2d stride 3, asymmetric", (1, 10, 7, 2), (3, 4, 2, 5), stride=3, pads=((0, 2), (3, 1))),
    Conv("conv2d stride 2, leftover pixels", (2, 9, 6, 2), (2, 3, 2, 3), stride=2, pads=((0, 0), (2, 0))),
    Conv("conv2d dilation 2", (2, 9, 8, 3), (3, 2, 3, 4), pads=((2, 1), (0, 2)), dilation=2),
    Conv("conv2d dilation 3, stride 2", (1, 11, 13, 2), (2, 3, 2, 3), stride=2, pads=((3, 0), (1, 2)), dilation=3),
    Conv("conv2d same", (2, 8, 9, 3), (3, 3, 3, 4), stride=2, pads=((0, 1), (1, 1)), padding="same"),
    Conv("grouped", (2, 6, 7, 4), (3, 2, 2, 6), groups=2, stride=2, pads=((1, 0), (0, 2))),
    Conv("grouped, two filters a channel", (2, 7, 6, 3), (3, 3, 1, 6), groups=3, pads=((1, 1), (1, 1))),
    Conv("depthwise", (2, 6, 5, 4), (3, 2, 1, 4), groups=4),
    Conv("depthwise stride 2, padding 1", (2, 8, 7, 3), (3, 3, 1, 3), groups=3, stride=2, pads=((1, 1), (1, 1))),
    Conv("depthwise stride 3, asymmetric", (1, 10, 7, 5), (3, 4, 1, 5), groups=5, stride=3, pads=((0, 2), (3, 1))),
    Conv("depthwise dilation 2", (2, 9, 8, 3), (3, 2, 1, 3), groups=3, pads=((2, 1), (0, 2)), dilation=2),
    Conv("depthwise same", (2, 7, 8, 3), (5, 3, 1, 3), groups=3, stride=2, pads=((2, 2), (0, 1)), padding="same"),
    Conv("pointwise", (2, 4, 3, 5), (1, 1, 5, 7)),
)


def conv_inputs(case: Conv) -> tuple[Array, Array]:
    return draw(f"{case.name}/x", case.x), draw(f"{case.name}/w", case.w)


def conv(case: Conv) -> dict[str, Results]:
    """Every operation of ours that can express the case -> out, dx, dw (dw as (KH, KW, C / groups, M))."""
    x, w = conv_inputs(case)
    results = {}
    for name, arguments in expressions(
        x, w, case.groups, case.stride, case.padding or case.pads, case.dilation
    ).items():
        out, cache = operation(f"{name}_forward")(x, *arguments)
        dx, dw = operation(f"{name}_backward")(draw(f"{case.name}/dout", out.shape), cache)
        results[name] = {"out": out, "dx": dx, "dw": dw.reshape(w.shape)}
    return results


def expressions(
    x: Array, w: Array, groups: int, stride: int, padding: Padding, dilation: int
) -> dict[str, tuple[Any, ...]]:
    """The operations of ours that a grouped convolution can be written as -> what each takes after x."""
    KH, KW, Cg, M = w.shape
    where = (stride, padding, dilation)
    result: dict[str, tuple[Any, ...]] = {"grouped_conv2d": (w, groups, *where)}
    if groups == 1:
        result["conv2d"] = result["conv2d_im2col"] = (w, *where)
    if groups == M == x.shape[3]:
        result["depthwise_conv2d"] = (np.ascontiguousarray(w[:, :, 0]), *where)
    if groups == KH == KW == stride == 1 and padding in (0, ((0, 0), (0, 0))):
        result["pointwise_conv2d"] = (w[0, 0],)
    return result


class Norm(NamedTuple):
    """Batch norm, training and inference, alone or with ReLU6 after it."""

    name: str
    x: tuple[int, ...]  # (..., C)
    eps: float = 1e-5
    momentum: float = 0.1
    relu6: bool = False
    offset: float = 0.0  # added to x: a mean far from 0 is where a careless variance loses its digits


NORMS = (
    Norm("batchnorm", (3, 5, 4, 6)),
    Norm("batchnorm, TensorFlow's epsilon", (2, 3, 5, 4), eps=1e-3, momentum=0.003),
    Norm("batchnorm of rows", (7, 5), momentum=0.5),
    Norm("batchnorm, mean 1000", (2, 4, 3, 3), offset=1000.0),
    Norm("batchnorm_relu6", (3, 5, 4, 6), relu6=True),
)


def norm_inputs(case: Norm) -> Results:
    """x, dout and a state in which nothing is 0 or 1 and ReLU6 clips at both ends."""
    C = case.x[-1]
    inputs = {
        "x": draw(f"{case.name}/x", case.x, -2, 2) + case.offset,
        "dout": draw(f"{case.name}/dout", case.x),
        "gamma": draw(f"{case.name}/gamma", (C,), 1, 4),
        "beta": draw(f"{case.name}/beta", (C,), 0, 5),
        "mean": draw(f"{case.name}/mean", (C,)) + case.offset,
        "var": draw(f"{case.name}/var", (C,), 0.5, 2),
    }
    return inputs


def norm(case: Norm) -> Results:
    """Both modes of the layer; inference runs on the statistics that training has just updated."""
    given = norm_inputs(case)
    make = BatchNormReLU6 if case.relu6 else BatchNorm
    layer = make(case.x[-1], eps=case.eps, momentum=case.momentum, dtype=np.float64)
    layer.load_state_dict({name: given[name] for name in ("gamma", "beta", "mean", "var")})
    results = {}
    for mode in ("train", "eval"):
        layer.train(mode == "train")
        results[f"{mode}/out"] = layer(given["x"])
        results[f"{mode}/dx"] = layer.backward(given["dout"])
        results[f"{mode}/dgamma"], results[f"{mode}/dbeta"] = layer.gamma.grad, layer.beta.grad
    results["mean"], results["var"] = layer.mean.value, layer.var.value
    return results


class Loss(NamedTuple):
    """Softmax cross-entropy."""

    name: str
    logits: tuple[int, int]  # (N, K)
    label_smoothing: float = 0.0
    scale: float = 3.0


LOSSES = (
    Loss("cross-entropy", (5, 7)),
    Loss("cross-entropy, smoothing 0.1", (4, 9), label_smoothing=0.1),
    Loss("cross-entropy, smoothing 1", (3, 4), label_smoothing=1.0),
    Loss("cross-entropy, logits in the hundreds", (4, 6), label_smoothing=0.1, scale=400.0),
)


def loss_inputs(case: Loss) -> tuple[Array, Array]:
    logits = draw(f"{case.name}/logits", case.logits, -case.scale, case.scale)
    return logits, draw(f"{case.name}/labels", case.logits[:1], 0, case.logits[1]).astype(np.int64)


def loss(case: Loss) -> Results:
    logits, labels = loss_inputs(case)
    value, dlogits = operation("softmax_cross_entropy")(logits, labels, case.label_smoothing)
    return {"loss": np.asarray(value), "dlogits": dlogits, "softmax": operation("softmax")(logits)}


class Pool(NamedTuple):
    """Average pooling; over the whole image if `size` is 0."""

    name: str
    x: tuple[int, int, int, int]
    size: int = 0
    stride: int = 1
    padding: int = 0
    count_padding: bool = False  # divide by size^2 even where the window leaves the image, PyTorch's default


POOLS = (
    Pool("global average pool", (2, 5, 3, 4)),
    Pool("average pool", (2, 7, 5, 3), size=2, stride=2),
    Pool("average pool stride 3, padding 1", (2, 8, 11, 3), size=3, stride=3, padding=1),
    Pool("average pool that counts the padding", (2, 8, 7, 3), size=4, stride=2, padding=2, count_padding=True),
)


def pool(case: Pool) -> Results:
    x = draw(f"{case.name}/x", case.x)
    if not case.size:
        out, cache = operation("global_avg_pool_forward")(x)
        return {"out": out, "dx": operation("global_avg_pool_backward")(draw(f"{case.name}/dout", out.shape), cache)}
    xp, pad_cache = operation("pad_forward")(x, case.padding if case.count_padding else 0)
    padding = 0 if case.count_padding else case.padding
    out, cache = operation("avg_pool2d_forward")(xp, case.size, case.stride, padding)
    dxp = operation("avg_pool2d_backward")(draw(f"{case.name}/dout", out.shape), cache)
    return {"out": out, "dx": operation("pad_backward")(dxp, pad_cache)}


def linear() -> Results:
    x, w, b = draw("linear/x", (3, 5)), draw("linear/w", (5, 4)), draw("linear/b", (4,))
    out, cache = operation("linear_forward")(x, w, b)
    dx, dw, db = operation("linear_backward")(draw("linear/dout", out.shape), cache)
    return {"out": out, "dx": dx, "dw": dw, "db": db}


# The kinks, their nearest neighbours in float64, both zeros, and what is not a number of any size.
KINKS = np.array(
    [0.0, -0.0, 6.0, *np.nextafter([0.0, 0.0, 6.0, 6.0], [-1, 1, 0, 7]), -np.inf, np.inf, np.nan, 3, -2, 9]
)


def activations() -> Results:
    results = {}
    for name in ("relu", "relu6"):
        out, cache = operation(f"{name}_forward")(KINKS)
        results[f"{name}/out"] = out
        results[f"{name}/dx"] = operation(f"{name}_backward")(draw("activations/dout", KINKS.shape), cache)
    return results


# -- the whole network


class Network(NamedTuple):
    """A MobileNetV2, a batch for it, and the settings of its batch norms."""

    name: str
    width: float
    x: tuple[int, int, int, int]
    num_classes: int
    eps: float = 1e-5
    momentum: float = 0.1


# The narrowest network there is, so that all of its 66,000 gradients fit into the repository.
NETWORK = Network("network", 0.1, (3, 48, 33, 3), num_classes=3)


def build(case: Network, dtype: Any = np.float64) -> Layer:
    return mobilenet_v2(case.num_classes, case.width, dropout=0.0, eps=case.eps, momentum=case.momentum, dtype=dtype)


def state(name: str, model: Layer) -> Results:
    """A state for any network of ours: kernels that keep the scale, batch norms that shift, scale and clip."""
    ranges = {"gamma": (0.5, 3.0), "beta": (-1.0, 4.0), "mean": (-1.0, 1.0), "var": (0.5, 2.0), "b": (-1.0, 1.0)}
    result = {}
    for key, value in model.state_dict().items():
        leaf = key.rsplit(".", 1)[1]
        bound = math.sqrt(1 / math.prod(value.shape[:2] if ".dw." in key else value.shape[:-1]))
        low, high = ranges.get(leaf, (-bound, bound))
        result[key] = draw(f"{name}/{key}", value.shape, low, high)
    return result


def network(case: Network) -> Results:
    """A training step's worth of everything, then inference on the updated statistics, with its gradients too."""
    model = build(case)
    model.load_state_dict(state(case.name, model))
    x, dlogits = network_inputs(case)
    results = {}
    for mode in ("train", "eval"):
        model.train(mode == "train")
        results[f"{mode}/logits"] = model(x)
        results[f"{mode}/dx"] = model.backward(dlogits)
        results |= {f"{mode}/grad/{name}": p.grad for name, p in model.named_parameters().items()}
    statistics = ("mean", "var")
    return results | {key: value for key, value in model.state_dict().items() if key.endswith(statistics)}


def network_inputs(case: Network) -> tuple[Array, Array]:
    return draw(f"{case.name}/x", case.x, -2, 2), draw(f"{case.name}/dlogits", (case.x[0], case.num_classes))


# -- some steps of training


class Training(NamedTuple):
    """Five steps on one batch, with a small network that has every kind of layer, by one optimiser."""

    name: str
    optimizer: str
    lr: float
    eps: float = 0.0
    steps: int = 5
    network: Network | None = None  # a whole MobileNetV2 instead of the small one


TRAININGS = (
    Training("sgd", "SGD", lr=0.02),
    Training("rmsprop", "RMSProp", lr=0.002, eps=1e-3),
)
MOMENTUM, WEIGHT_DECAY, DECAY, LABEL_SMOOTHING = 0.9, 1e-3, 0.9, 0.1
SMALL = Network("small", 0.25, (4, 13, 10, 3), num_classes=4)
EVERY_ROLE = {"weight", "depthwise", "bias", "gamma", "beta"}  # PyTorch decays all there is


def build_small() -> Layer:
    """Stem, a block without expansion, one with stride, one with a residual, head, classifier."""
    rng, dtype = np.random.default_rng(0), np.float64
    return Sequential(
        {
            "stem": ConvBNReLU6(Conv2d(3, 8, 3, stride=2, padding=1, rng=rng, dtype=dtype), 8, dtype=dtype),
            "b0.0": InvertedResidual(8, 8, stride=1, t=1, rng=rng, dtype=dtype),
            "b1.0": InvertedResidual(8, 16, stride=2, t=2, rng=rng, dtype=dtype),
            "b1.1": InvertedResidual(16, 16, stride=1, t=2, rng=rng, dtype=dtype),
            "head": ConvBNReLU6(PointwiseConv2d(16, 24, rng=rng, dtype=dtype), 24, dtype=dtype),
            "pool": GlobalAvgPool(),
            "fc": Linear(24, 4, rng=rng, dtype=dtype),
        }
    )


def training(case: Training) -> Results:
    """The loss of every step, and the state after the last."""
    model = build(case.network) if case.network else build_small()
    model.load_state_dict(state(case.name, model))
    common = {"momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY, "decayed": EVERY_ROLE}
    if case.optimizer == "SGD":
        optimizer: optim.Optimizer = optim.SGD(model.parameters(), case.lr, **common)
    else:
        rest = {"decay": DECAY, "eps": case.eps, "form": "pytorch"}
        optimizer = optim.RMSProp(model.parameters(), case.lr, **common, **rest)
    x, labels = training_inputs(case)
    losses = []
    for _step in range(case.steps):
        value, dlogits = operation("softmax_cross_entropy")(model(x), labels, LABEL_SMOOTHING)
        model.backward(dlogits)
        optimizer.step()
        losses.append(value)
    return {"losses": np.array(losses)} | model.state_dict()


def training_inputs(case: Training) -> tuple[Array, Array]:
    of = case.network or SMALL
    labels = draw(f"{case.name}/labels", of.x[:1], 0, of.num_classes).astype(np.int64)
    return draw(f"{case.name}/x", of.x, -2, 2), labels


# -- names and layouts of torchvision


def torchvision_names(model: Layer) -> dict[str, str]:
    """Our name -> torchvision's, for every parameter and statistic of a MobileNetV2 of ours."""
    leaves = {
        "w": "weight",
        "b": "bias",
        "gamma": "weight",
        "beta": "bias",
        "mean": "running_mean",
        "var": "running_var",
    }
    layers = model.children()
    features = {name: i for i, name in enumerate(name for name in layers if name not in ("pool", "dropout", "fc"))}
    names = {}
    for key in model.state_dict():
        if key.startswith("fc."):
            names[key] = f"classifier.1.{leaves[key[3:]]}"
            continue
        path, kind, leaf = key.rsplit(".", 2)  # ("b1.0.expand", "conv" or "bn", "w")
        if path in features:  # stem, head: features.0.{0,1}
            names[key] = f"features.{features[path]}.{0 if kind == 'conv' else 1}.{leaves[leaf]}"
            continue
        block, part = path.rsplit(".", 1)
        k = list(layers[block].children()).index(part)  # expand, dw, project; without an expand: dw, project
        # torchvision puts a convolution with an activation into a Sequential of its own, the last two stand free
        place = f"{k + (kind == 'bn')}" if part == "project" else f"{k}.{0 if kind == 'conv' else 1}"
        names[key] = f"features.{features[block]}.conv.{place}.{leaves[leaf]}"
    return names


def torch_layout(name: str, value: Array) -> Array:
    """An array of ours, as PyTorch stores it."""
    if name == "fc.w":
        return value.T  # (C, M) -> (M, C)
    if not name.endswith(".w"):
        return value
    if value.ndim == 4:
        return value.transpose(3, 2, 0, 1)  # (KH, KW, C, M) -> (M, C, KH, KW)
    if value.ndim == 3:
        return value.transpose(2, 0, 1)[:, None]  # (KH, KW, C) -> (C, 1, KH, KW)
    return value.T[:, :, None, None]  # (C, M) -> (M, C, 1, 1)


def our_layout(name: str, value: Array) -> Array:
    """The inverse of `torch_layout`."""
    if name == "fc.w":
        return value.T
    if not name.endswith(".w"):
        return value
    if name == "stem.conv.w":
        return value.transpose(2, 3, 1, 0)
    if ".dw." in name:
        return value[:, 0].transpose(1, 2, 0)
    return value[:, :, 0, 0].T


# -- comparing


def errors(ours: Mapping[str, Array], theirs: Mapping[str, Array]) -> dict[str, float]:
    """The relative error of every array; infinite where one side has no such array.

    One kind of gradient has no relative error: in training, beta of a linear bottleneck. It adds a constant to a
    channel, the next 1x1 convolution makes constants of it, and the batch norm after that takes them out again; so the
    loss does not depend on it, and both sides return what rounding left of 0. It is measured by the gradient of gamma.
    """
    result = {}
    for key in ours.keys() | theirs.keys():
        if key not in ours or key not in theirs:
            result[key] = math.inf
        elif key.startswith("train/grad/") and key.endswith("project.bn.beta"):
            scale = float(np.abs(theirs[key.replace("beta", "gamma")]).max())
            result[key] = max(float(np.abs(side[key]).max()) for side in (ours, theirs)) / scale
        else:
            result[key] = relative_error(np.asarray(ours[key]), theirs[key])
    return result


def worst(ours: Mapping[str, Array], theirs: Mapping[str, Array]) -> tuple[float, str]:
    """The largest of `errors` and where it is."""
    return max((error, key) for key, error in errors(ours, theirs).items())
