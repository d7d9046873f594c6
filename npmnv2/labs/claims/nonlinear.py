"""Claims about ReLU6, the linear bottleneck, batch norm and dropout: small experiments."""

import numpy as np

from npmnv2 import cost, ops
from npmnv2.labs.claims.claim import Verdict
from npmnv2.nn.blocks import SeparableConv
from npmnv2.nn.layers import BatchNorm
from npmnv2.nn.optim import SGD
from npmnv2.nn.parameter import Parameter

PIXELS = 200


def linear_only_early() -> Verdict:
    """Which convolutions have no ReLU6 after them."""
    convolutions = [layer for layer in cost.mobilenet_v2() if layer.batchnorm]
    linear = [k for k, layer in enumerate(convolutions) if not layer.relu6]
    late = sum(k >= len(convolutions) / 2 for k in linear)
    return Verdict(
        late == 0, f"{len(linear)} convolutions have none, the last of every block, and {late} are in the second half."
    )


def depthwise_is_complete() -> Verdict:
    """What follows the depthwise convolutions."""
    depthwise = [layer for layer in cost.mobilenet_v2() if layer.kind == "depthwise"]
    full = sum(layer.batchnorm > 0 and layer.relu6 for layer in depthwise)
    return Verdict(
        full == len(depthwise), f"{full} of {len(depthwise)} have both; the paper's Table 1 names the ReLU6."
    )


def bias_before_batchnorm() -> Verdict:
    """A pointwise convolution and batch norm, with and without a bias."""
    rng = np.random.default_rng(0)
    out = ops.pointwise_conv2d_forward(rng.normal(size=(2, 5, 5, 3)), rng.normal(size=(3, 4)))[0]
    gamma, beta, bias = rng.normal(size=(3, 4))
    without, biased = (ops.batchnorm_forward(each, gamma, beta)[0] for each in (out, out + bias))
    off = float(np.abs(without - biased).max())
    return Verdict(off < 1e-9, f"The outputs differ by {off:.0e}, which is rounding: the mean takes the bias away.")


def _found_again(narrow: int, wide: int) -> int:
    """Of random pixels of `narrow` channels, how many can be computed from what ReLU leaves of `wide` channels."""
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(PIXELS):
        x, w = rng.normal(size=narrow), rng.normal(size=(narrow, wide))
        out, _ = ops.relu_forward(x @ w)
        alive = out > 0
        again = np.linalg.lstsq(w[:, alive].T, out[alive], rcond=None)[0]
        found += bool(np.abs(again - x).max() < 1e-6)
    return found


def relu_in_many() -> Verdict:
    """From 24 to 144 channels, then ReLU."""
    narrow, wide = 24, 144
    found = _found_again(narrow, wide)
    return Verdict(found > PIXELS / 2, f"{found} of {PIXELS} random pixels were found again by least squares.")


def relu_in_few() -> Verdict:
    """From 24 to 24 channels, then ReLU."""
    narrow = 24
    found = _found_again(narrow, narrow)
    return Verdict(
        found > PIXELS / 2, f"{found} of {PIXELS} random pixels were found again: about half of the channels are zero."
    )


def preserved_share() -> Verdict:
    """Points of 2 dimensions in 5 channels: how many leave enough channels alive."""
    n, m = 2, 5
    formula = 1 - (1 + m) / 2**m  # all ways for m channels, without those in which none or one is positive
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(20_000, 1, n)), rng.normal(size=(20_000, n, m))
    kept = float(((x @ w > 0).sum(axis=(1, 2)) >= n).mean())
    return Verdict(
        abs(kept - formula) < 0.02,
        f"For {n} dimensions in {m} channels the formula gives {formula:.4f}; of random points {kept:.4f} keep at "
        f"least {n} channels and can be computed back.",
    )


def only_if_enough_survive() -> Verdict:
    """One dimension, two channels of weights 1 and -1, and the point 0."""
    w = np.array([[1.0, -1.0]])
    x = np.linspace(-1, 1, 2001)[:, np.newaxis]
    out, _ = ops.relu_forward(x @ w)
    zero = out[1000]
    same = int((out == zero).all(axis=1).sum())
    alive = int((zero > 0).sum())
    return Verdict(
        same > 1 or alive >= w.shape[0],
        f"With weights {w[0, 0]:g} and {w[0, 1]:g} the point zero leaves {alive} channels alive, and {same} of "
        f"{len(x)} points gives that output: it is found again.",
    )


def float16_ends_there() -> Verdict:
    """The largest float16, and its relative step."""
    most = float(np.finfo(np.float16).max)
    small, large = 4, 4096
    steps = [float(np.spacing(np.float16(x)) / x) for x in (small, large)]
    return Verdict(
        most < 60,
        f"The largest of that kind is {most:.0f}, in relative steps of {steps[0]:.5f} at {small} and {steps[1]:.5f} at "
        f"{large}.",
    )


def int8_step() -> Verdict:
    """One step of 256 levels from 0 to 6."""
    top, steps = float(ops.relu6_forward(np.full((1, 1), 1e9))[0].max()), 2**8 - 1
    return Verdict(
        1000 * top / steps,
        f"{top:g} / {steps} = {top / steps:.4f}; a range ten times as wide has steps ten times as wide.",
    )


def lets_more_through() -> Verdict:
    """The share of a gradient that passes ReLU and ReLU6."""
    deviation = 4
    x = np.random.default_rng(0).normal(0, deviation, size=(100, 100))
    shares = []
    for forward, backward in ((ops.relu_forward, ops.relu_backward), (ops.relu6_forward, ops.relu6_backward)):
        out, cache = forward(x)
        shares.append(float((backward(np.ones_like(out), cache) > 0).mean()))
    return Verdict(
        shares[1] > shares[0],
        f"Of normal inputs of deviation {deviation} ReLU lets {shares[0]:.0%} through, ReLU6 {shares[1]:.0%}; the "
        "reason that V2, section 4 gives is low-precision arithmetic.",
    )


def v1_clips() -> Verdict:
    """The largest output of V1's block when its batch norm scales up."""
    block = SeparableConv(8, 16, stride=1, rng=np.random.default_rng(0), dtype=np.float64)
    block.pw.bn.gamma.value[:] = scale = 100
    top = float(block(np.random.default_rng(1).normal(size=(2, 9, 9, 8))).max())
    return Verdict(top == 6, f"The largest output is {top:g}, though batch norm scales by {scale}.")


def dropout_words() -> Verdict:
    """How many values a dropout of rate 0.8 keeps."""
    rate = 0.8
    out, _ = ops.dropout_forward(np.ones((1000, 100)), rate, np.random.default_rng(0))
    kept = float((out > 0).mean())
    return Verdict(
        abs(kept - rate) < 0.05,
        f"A rate of {rate} keeps {kept:.0%} here, as in PyTorch; {rate} in TF-slim is the share that is kept.",
    )


def momentum_words() -> Verdict:
    """How much of the last batch a running mean has."""
    layer = BatchNorm(1, momentum=0.997, dtype=np.float64)
    means = (0, 1)
    for mean in means:
        layer(np.array([[mean - 1.0], [mean + 1.0]]))
    share = float(layer.mean.value[0])
    return Verdict(share > 0.9, f"After a batch of mean {means[0]} and one of mean {means[1]} it is {share:g}.")


def decay_of_depthwise() -> Verdict:
    """One step of SGD with no gradient but decay."""
    parameters = [Parameter(np.ones(4), role) for role in ("depthwise", "weight")]
    for p in parameters:
        p.grad = np.zeros(4)
    SGD(parameters, lr=1.0, momentum=0.0, weight_decay=4e-5).step()
    depthwise, weight = (float(1 - p.value[0]) for p in parameters)
    return Verdict(
        depthwise == 0 < weight,
        f"A step without gradient takes {depthwise:.0e} of a depthwise weight, {weight:.0e} of others.",
    )
