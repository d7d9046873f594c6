"""Claims about numbers of layers, multiply-adds and weights: sums over the layers of `cost`."""

from npmnv2 import cost
from npmnv2.cost import counting
from npmnv2.labs.claims import printed
from npmnv2.labs.claims.claim import Verdict
from npmnv2.models import mobilenet_v1 as build_v1
from npmnv2.models import mobilenet_v2 as build_v2
from npmnv2.models.mobilenet_v2 import ROWS, STRIDES, plan


def blocks() -> Verdict:
    """How many blocks Table 2 adds up to."""
    claimed, found = 19, len(plan()[1])
    return Verdict(
        found == claimed, f"The repeats n of Table 2 add up to {found}; the text of section 4 says {claimed}."
    )


def madds() -> Verdict:
    """MobileNetV2 1.0, 224x224, 1000 classes."""
    found = cost.total(cost.mobilenet_v2()).madds
    return Verdict(found / 1e6, f"{found:,} in convolutions and the linear layer, one for a product and its sum.")


def stored_numbers() -> Verdict:
    """Weights, parameters, variables."""
    found, claimed = cost.total(cost.mobilenet_v2()), 3.4
    stored = found.variables / 1e6
    return Verdict(
        stored < claimed + 0.1,
        f"{found.weights:,} weights; with bias, gamma and beta {found.parameters:,}; a checkpoint stores the running "
        f"statistics too, {found.variables:,} in all.",
    )


def classifier_share() -> Verdict:
    """Of the weights, in per cent."""
    layers = cost.mobilenet_v2()
    last, whole = layers[-1].weights, cost.total(layers).weights
    return Verdict(100 * last / whole, f"The linear layer has {last:,} of {whole:,} weights.")


def pointwise_share() -> Verdict:
    """Of the multiply-adds of V1."""
    layers = cost.mobilenet_v1()
    part = cost.total(layer for layer in layers if layer.kind == "pointwise").madds / cost.total(layers).madds
    return Verdict(part > 0.9, f"Its pointwise convolutions have {part:.1%} of the multiply-adds.")


def depth() -> Verdict:
    """Layers with weights, against ResNet-50, which its name counts."""
    found, resnet = len(cost.mobilenet_v2()), 50
    return Verdict(found < resnet, f"It has {found} layers with weights; a ResNet-50, so counted, has {resnet}.")


def layers_of_v1() -> Verdict:
    """Depthwise and pointwise counted apart."""
    found, claimed = len(cost.mobilenet_v1()), 28
    depthwise = sum(layer.kind == "depthwise" for layer in cost.mobilenet_v1())
    return Verdict(found == claimed, f"A stem, {depthwise} depthwise, as many pointwise, one linear layer: {found}.")


def shortcuts() -> Verdict:
    """Blocks that add their input."""
    found = sum(bool(layer.shortcut) for layer in cost.mobilenet_v2())
    return Verdict(found, f"{found} of {len(plan()[1])} blocks have stride one and as many channels out as in.")


def strided_blocks() -> Verdict:
    """Blocks of stride 2."""
    found = [b.name for b in plan()[1] if b.stride == 2]
    return Verdict(len(found), f"The blocks {', '.join(found)} halve the image (row and repeat, both from zero).")


def three_convolutions() -> Verdict:
    """Convolutions by block."""
    names = [layer.name.rpartition(".")[0] for layer in cost.mobilenet_v2()]
    fewer = [b.name for b in plan()[1] if names.count(b.name) < 3]
    return Verdict(
        not fewer,
        f"{len(fewer)} of {len(plan()[1])} blocks has no expansion, so two convolutions: that with t = 1.",
    )


def factor_everywhere() -> Verdict:
    """The expansion factors of the rows."""
    factors, claimed = [row.t for row in ROWS], 6
    return Verdict(set(factors) == {claimed}, f"By row t is {', '.join(map(str, factors))}.")


def needless_expansion() -> Verdict:
    """What an expansion at t = 1 costs."""
    depthwise = next(layer for layer in cost.mobilenet_v2() if layer.kind == "depthwise")
    H, W, C = depthwise.in_shape
    extra, whole = cost.convolution("pointwise", H, W, C, C).madds, cost.total(cost.mobilenet_v2()).madds
    return Verdict(extra / 1e6, f"{H} * {W} * {C} * {C} = {extra:,}; the network would have {whole + extra:,}.")


def four_slips() -> Verdict:
    """One published implementation, counted."""
    layers = cost.mobilenet_v2()
    whole = cost.total(layers).madds
    head = layers[-2]
    (H, W, C), M = head.in_shape, head.out_shape[2]
    smaller = cost.convolution("standard", H, W, C, M, kernel=1, stride=2, padding=0).madds - head.madds
    lost = -cost.total(layer for layer in layers if layer.name.startswith("b1.1.")).madds
    first = next(layer for layer in layers if layer.kind == "depthwise")
    expansion = cost.convolution("pointwise", *first.in_shape, first.in_shape[2]).madds
    slips = (smaller, lost, expansion, first.madds)
    off = sum(slips) / whole
    millions = ", ".join(f"{slip / 1e6:+.1f}" for slip in slips)
    return Verdict(
        abs(off) > 0.25, f"In millions {millions}: they all but cancel, {whole + sum(slips):,} in all, {off:+.1%}."
    )


def biases() -> Verdict:
    """One number a channel of every convolution."""
    layers = cost.mobilenet_v2()
    extra, whole = sum(layer.batchnorm for layer in layers), cost.total(layers).parameters
    return Verdict(extra / whole < 0.01, f"{extra:,} biases beside {whole:,} parameters: {extra / whole:.2%}.")


def shared_parameters() -> Verdict:
    """Arrays that two layers have in common, in a small build of both networks."""
    parameters = [p for build in (build_v1, build_v2) for p in build(10, 0.25).parameters()]
    different = len({id(p.value) for p in parameters})
    return Verdict(different < len(parameters), f"{len(parameters)} parameters of V1 and V2 are {different} arrays.")


def gain_32() -> Verdict:
    """The separable gain at 32 output channels."""
    M, taps = 32, 3 * 3
    found = cost.separable_gain(M)
    return Verdict(
        found, f"One over {M} and one over {taps} add up to {1 / M + 1 / taps:.4f}, and the inverse is {found:.2f}."
    )


def gain_is_channels() -> Verdict:
    """Depthwise alone, and the pair."""
    M = 128
    depthwise, pointwise = cost.separable(28, 28, M, M)
    standard = cost.convolution("standard", 28, 28, M, M).madds
    pair = standard / (depthwise.madds + pointwise.madds)
    return Verdict(
        abs(pair / M - 1) < 0.1,
        f"At {M} channels the pair has {pair:.2f} times fewer; the depthwise part alone has "
        f"{standard / depthwise.madds:.0f} times fewer, but mixes no channels.",
    )


def gain_below_nine() -> Verdict:
    """A limit that no number of channels reaches."""
    channels = [2**k for k in range(21)]
    gains = [cost.separable_gain(M) for M in channels]
    return Verdict(
        max(gains) < 9, f"From one to {channels[-1]:,} output channels it rises from {gains[0]:.2f} to {gains[-1]:.5f}."
    )


def twin_madds() -> Verdict:
    """V1 with standard convolutions: multiply-adds."""
    found = cost.total(cost.mobilenet_v1_conv()).madds / cost.total(cost.mobilenet_v1()).madds
    return Verdict(8 < found < 9, f"The twin with standard convolutions has {found:.2f} times as many.")


def twin_weights() -> Verdict:
    """V1 with standard convolutions: weights."""
    found = cost.total(cost.mobilenet_v1_conv()).weights / cost.total(cost.mobilenet_v1()).weights
    share = cost.mobilenet_v1()[-1].weights / cost.total(cost.mobilenet_v1()).weights
    return Verdict(8 < found < 9, f"{found:.2f} times: the classifier, {share:.0%} of V1's weights, does not shrink.")


def dense_v2() -> Verdict:
    """A standard 3x3 for every depthwise one of V2."""
    dense = [
        cost.convolution("standard", *layer.in_shape, layer.out_shape[2], 3, layer.stride)
        if layer.kind == "depthwise"
        else layer
        for layer in cost.mobilenet_v2()
    ]
    found = cost.total(dense).madds / cost.total(cost.mobilenet_v2()).madds
    return Verdict(found, f"{cost.total(dense).madds:,}: the standard convolutions would stand in the wide middle.")


def small_images() -> Verdict:
    """96x96 in place of 224x224."""
    large, small = 224, 96
    found = cost.total(cost.mobilenet_v2(1.0, large)).madds / cost.total(cost.mobilenet_v2(1.0, small)).madds
    return Verdict(
        found,
        f"The pixels are {(large / small) ** 2:.2f} times fewer, the multiply-adds {found:.2f}: the classifier stays.",
    )


def half_width() -> Verdict:
    """Weights left at width 0.5, in per cent."""
    whole, half = (cost.mobilenet_v2(width) for width in (1.0, 0.5))
    found = cost.total(half).weights / cost.total(whole).weights
    same = half[-1].weights / cost.total(half).weights
    return Verdict(
        100 * found,
        f"The head keeps its {half[-1].in_shape[2]} channels, and the classifier is {same:.0%} of what is left.",
    )


def smallest_checkpoint() -> Verdict:
    """The least of the 22."""
    width, sizes = min(printed.V2_CHECKPOINTS.items())
    found, claimed = cost.total(cost.mobilenet_v2(width, min(sizes))).madds / 1e6, 7
    return Verdict(round(found) == claimed, f"Width {width} on {min(sizes)} pixels a side has {found:.2f} million.")


def largest_in_table() -> Verdict:
    """V2 1.4, as Table 4 has it."""
    found, madds, weights = cost.total(cost.mobilenet_v2(1.4)), 585, 6.9
    return Verdict(
        abs(found.madds / 1e6 - madds) < 1 and abs(found.parameters / 1e6 - weights) < 0.1,
        f"{found.madds / 1e6:.1f} million multiply-adds, {found.parameters / 1e6:.2f} million parameters.",
    )


def v1_in_table() -> Verdict:
    """V1, as V2's Table 4 has it."""
    found, claimed = cost.total(cost.mobilenet_v1()).madds / 1e6, printed.V2_TABLE_4["MobileNetV1"][1]
    own = printed.V1_TABLE_4["MobileNet"][1]
    return Verdict(abs(found - claimed) < 1, f"{found:.1f} million; V1's own paper prints {own}, V2's {claimed}.")


def early_strides() -> Verdict:
    """The strides of rows 3 and 4 exchanged."""
    strides = list(STRIDES["imagenet"])
    strides[4], strides[5] = strides[5], strides[4]
    found = cost.total(cost.mobilenet_v2(strides=strides)).madds
    right = cost.total(cost.mobilenet_v2()).madds
    return Verdict(found / right, f"{found:,} in place of {right:,}: four blocks see four times as many pixels.")


def one_formula() -> Verdict:
    """h * w * d' * t * (d' + k*k + d''), summed over the blocks."""
    size, formula = cost.mobilenet_v2()[0].out_shape[0], 0
    for b in plan()[1]:
        formula += size * size * b.in_channels * b.t * (b.in_channels + 9 + b.out_channels)
        size //= b.stride
    exact = cost.total(layer for layer in cost.mobilenet_v2() if "." in layer.name).madds
    return Verdict(
        formula == exact, f"The formula gives {formula:,}, the layers {exact:,}: it ignores stride and t = 1."
    )


def head_behind_pool() -> Verdict:
    """The head at one pixel."""
    head = cost.mobilenet_v2()[-2]
    moved = cost.convolution("pointwise", 1, 1, head.in_shape[2], head.out_shape[2]).madds
    return Verdict(
        head.madds / moved, f"{head.madds:,} at {head.in_shape[0]}x{head.in_shape[1]} pixels, {moved:,} at one."
    )


def linear_saves() -> Verdict:
    """What ReLU6 after every projection would add."""
    layers = cost.mobilenet_v2()
    extra = sum(layer.outputs for layer in layers if layer.batchnorm and not layer.relu6)
    clipped = [layer._replace(relu6=bool(layer.batchnorm)) for layer in layers]
    before, after = (counting.quantities(each).madd for each in (layers, clipped))
    return Verdict(
        (after - before + extra) / before > 0.01,
        f"A ReLU6 there would compare {extra:,} numbers beside {before:,} multiply-adds, {extra / before:.2%}.",
    )
