"""Claims about what the papers print: their numbers against each other and against the architecture."""

from npmnv2 import cost
from npmnv2.labs.claims import printed
from npmnv2.labs.claims.claim import Verdict
from npmnv2.shapes import make_divisible

HALF = 2  # bytes of a 16-bit number


def published_widths() -> Verdict:
    """The widths of the 22 checkpoints."""
    claimed = {0.35, 0.5, 0.75, 1.0, 1.4}
    found = sorted(printed.V2_CHECKPOINTS)
    return Verdict(set(found) == claimed, f"The authors' page lists {', '.join(map(str, found))}.")


def quarter_width() -> Verdict:
    """Which of V1 and V2 has checkpoints of width 0.25."""
    width = 0.25
    v1, v2 = (len(table.get(width, {})) for table in (printed.V1_CHECKPOINTS, printed.V2_CHECKPOINTS))
    least = min(printed.V2_CHECKPOINTS)
    return Verdict(v1 > 0 and v2 == 0, f"V1 has {v1} of them, V2 {v2}: there the smallest width is {least}.")


def cut_off() -> Verdict:
    """The 22 printed figures against the exact ones."""
    rows = [
        (cost.total(cost.mobilenet_v2(width, side)).madds, said)
        for width, sides in printed.V2_CHECKPOINTS.items()
        for side, said in sides.items()
    ]
    cut = sum(exact // 10**6 == said for exact, said in rows)
    rounded = sum(round(exact / 1e6) == said for exact, said in rows)
    return Verdict(
        cut == len(rows), f"Cut off, {cut} of {len(rows)} agree with the exact counts; rounded, {rounded} would."
    )


def twenty_times_as_fast() -> Verdict:
    """YOLOv2's time in Table 6."""
    (_, madds, time), (_, least, _) = printed.V2_TABLE_6["YOLOv2"], printed.V2_TABLE_6["V2 + SSDLite"]
    return Verdict(
        time is not None,
        f"V2, Table 6 has no time for YOLOv2; {madds} / {least} = {madds / least:.1f} is a factor of multiply-adds.",
    )


def faster_than_both() -> Verdict:
    """Times in Table 4."""
    times = {name: printed.V2_TABLE_4[name][2] for name in ("MobileNetV2 (1.4)", "ShuffleNet (x2)", "NasNet-A")}
    mine, *others = times.values()
    shown = ", ".join(f"{name}: {'none' if time is None else f'{time} ms'}" for name, time in times.items())
    return Verdict(
        mine is not None and all(time is not None and mine < time for time in others),
        f"V2, Table 4 has these times: {shown}.",
    )


def _most_accurate(name: str) -> Verdict:
    top, *others = (printed.V2_TABLE_4[each][0] for each in (name, "ShuffleNet (x2)", "NasNet-A"))
    return Verdict(
        top > max(others),
        f"Top-1 is {top} per cent, against {others[0]} of ShuffleNet (x2) and {others[1]} of NasNet-A.",
    )


def v2_beats_both() -> Verdict:
    """Width 1.0 in Table 4."""
    return _most_accurate("MobileNetV2")


def wide_v2_beats_both() -> Verdict:
    """Width 1.4 in Table 4."""
    return _most_accurate("MobileNetV2 (1.4)")


def price_of_separating() -> Verdict:
    """V1 and its twin in V1's Table 4."""
    twin, own = (top for top, _ in printed.V1_TABLE_4.values())
    return Verdict(
        0.5 < twin - own < 1.5, f"V1, Table 4: {twin} per cent top-1 with standard convolutions, {own} without."
    )


def kilobytes() -> Verdict:
    """The first entry of V1's column in Table 3."""
    side, channels, said = 112, 64, 1600
    held = side * side * channels * HALF
    return Verdict(
        abs(held / 1000 / said - 1) < 0.05,
        f"{channels} channels of {side}x{side} at {HALF} bytes are {held:,} bytes; it prints {said}.",
    )


def v1_at_7() -> Verdict:
    """V1's entry at 7x7."""
    (H, W, channels), said = cost.mobilenet_v1()[-2].out_shape, 199
    held = H * W * channels * HALF
    return Verdict(
        abs(held / 1000 / said - 1) < 0.05,
        f"{H} * {W} * {channels} * {HALF} = {held:,} bytes, about half of {said} kB.",
    )


def bottleneck_at_56() -> Verdict:
    """Channels between blocks at 56x56."""
    ends = [layer for layer in cost.mobilenet_v2() if layer.name.endswith("project")]
    side, said = 56, 32
    found = max(end.out_shape[2] for end in ends if end.out_shape[0] == side)
    return Verdict(
        found == said,
        f"Between blocks of {side}x{side} pixels there are {found}; the stage with {said} halves the image first.",
    )


def largest_bottleneck() -> Verdict:
    """The largest tensor between two blocks."""
    end = max((x for x in cost.mobilenet_v2() if x.name.endswith("project")), key=lambda x: x.outputs)
    held, said = end.outputs * HALF, 400
    return Verdict(
        abs(held / 1000 / said - 1) < 0.05,
        f"{'x'.join(map(str, end.out_shape))} at {HALF} bytes are {held:,}; the proceedings print half of {said}.",
    )


def shufflenet_groups() -> Verdict:
    """Of how many groups the printed widths are."""
    found = [g for g, row in printed.SHUFFLENET.items() if tuple(2 * c for c in row) == printed.V2_TABLE_3_SHUFFLENET]
    groups = 3
    three = ", ".join(str(2 * c) for c in printed.SHUFFLENET[groups])
    return Verdict(
        found == [groups],
        f"They are twice those of {', '.join(map(str, found))} groups; of {groups} it would be {three}.",
    )


def best_of_three() -> Verdict:
    """Average precision in Table 6."""
    precision = {name: row[0] for name, row in printed.V2_TABLE_6.items()}
    shown = ", ".join(f"{name}: {value}" for name, value in precision.items())
    return Verdict(max(precision, key=precision.__getitem__) == "V2 + SSDLite", f"V2, Table 6 prints {shown}.")


def ssdlite_fits() -> Verdict:
    """Backbone and detection against the total."""
    side = 320
    backbone = cost.total(cost.mobilenet_v2(1.0, side)[:-1]).madds / 1e9
    detection, whole = printed.V2_TABLE_5_SSDLITE, printed.V2_TABLE_6["V2 + SSDLite"][1]
    return Verdict(
        abs(backbone + detection - whole) < 0.05,
        f"{backbone:.3f} at {side}x{side} without the classifier, and {detection}, are {backbone + detection:.2f}.",
    )


def ratio_to_resnet() -> Verdict:
    """The ratio that section 6.3 prints."""
    said, own, resnet = 4.9, printed.V1_AT_8[1], printed.RESNET_AT_8[1]
    swapped = 991.4
    return Verdict(
        abs(resnet / own - said) < 0.05,
        f"{resnet} / {own} = {resnet / own:.2f}; with two digits exchanged, {swapped}, it is {resnet / swapped:.2f}.",
    )


def price_of_two_points() -> Verdict:
    """V2 at output stride 16, and at 8 with MF."""
    (low, few), (high, many) = printed.V2_AT_16, printed.V2_AT_8
    return Verdict(
        many / few > 50,
        f"{high} - {low} = {high - low:.2f} points, for {many} / {few} = {many / few:.1f} times as many.",
    )


def share_of_the_stem() -> Verdict:
    """The third row of V1's Table 2."""
    layers, said = cost.mobilenet_v1(), printed.V1_TABLE_2["Conv 3x3"]
    found = 100 * layers[0].madds / cost.total(layers).madds
    return Verdict(
        abs(found - said) < 0.05,
        f"It is {found:.2f} per cent; the column adds up to {sum(printed.V1_TABLE_2.values()):.2f}.",
    )


def same_layers_counted() -> Verdict:
    """Both rows of V1's Table 4, with and without the classifier."""
    counted = []
    for layers, (_, said) in zip(
        (cost.mobilenet_v1_conv(), cost.mobilenet_v1()), printed.V1_TABLE_4.values(), strict=True
    ):
        without, whole = (cost.total(part).madds / 1e6 for part in (layers[:-1], layers))
        counted.append((abs(whole - said) < 0.5, f"{whole:.2f} with and {without:.2f} without it, {said} printed"))
    return Verdict(
        counted[0][0] == counted[1][0],
        f"The two rows differ in the classifier. Of standard convolutions, in millions: {counted[0][1]}; of depthwise "
        f"separable ones: {counted[1][1]}.",
    )


def planet() -> Verdict:
    """The body of V1, in millions."""
    found, said = cost.total(cost.mobilenet_v1()[:-1]).madds / 1e6, 0.58
    return Verdict(
        abs(found - said) < 1, f"V1 without its classifier has {found:.1f} million: the word must be billion."
    )


def face_attributes() -> Verdict:
    """Section 4.5 against Table 12."""
    text, table = 75, 7.5
    return Verdict(
        text == table, f"V1, section 4.5 says {text} million, its Table 12 {table}: one decimal point was lost."
    )


def quarter_less_width() -> Verdict:
    """V1 0.75 on 224 pixels."""
    layers, said = cost.mobilenet_v1(0.75), printed.V1_CHECKPOINTS[0.75][224]
    found, without = cost.total(layers).madds / 1e6, cost.total(layers[1:]).madds / 1e6
    return Verdict(
        abs(found - said) < 1, f"{found:.1f} million; {said} is what is left without the stem, {without:.1f}."
    )


def misprint_at_192() -> Verdict:
    """V1 0.25 on 192 pixels."""
    found, said = cost.total(cost.mobilenet_v1(0.25, 192)).madds / 1e6, printed.V1_CHECKPOINTS[0.25][192]
    return Verdict(
        abs(found - said) < 1, f"The layers add up to {found:.1f} million, with no way of counting to {said}."
    )


def _v3_small() -> int:
    """Multiply-adds of V3-Small: stem, blocks, the two layers at the end, squeeze-and-excite among them."""
    size, C, madds = 112, 16, cost.convolution("standard", 224, 224, 3, 16, stride=2).madds
    for k, middle, out, se, s in printed.V3_SMALL:
        madds += size * size * C * middle * (middle != C)
        size = -(-size // s)
        madds += size * size * middle * (k * k + out) + 2 * se * middle * make_divisible(middle / 4)
        C = out
    return madds + size * size * C * 576 + 576 * 1280 + 1280 * 1001


def v3_small() -> Verdict:
    """V3-Small against the page of its checkpoints."""
    found, said = _v3_small() / 1e6, 66
    return Verdict(
        abs(found - said) < 1, f"Its layers, squeeze-and-excite among them, add up to {found:.1f} million, not {said}."
    )


def v3_keeps_shortcuts() -> Verdict:
    """V3-Large's table: blocks whose input has the shape of the output."""
    before = [16, *(out for out, _ in printed.V3_LARGE)]
    found = sum(s == 1 and out == C for C, (out, s) in zip(before, printed.V3_LARGE, strict=False))
    return Verdict(
        found == 0, f"{found} of {len(printed.V3_LARGE)} blocks of V3, Table 1 keep the shape, and each adds its input."
    )


def xception_said_it() -> Verdict:
    """Where the argument about few channels stands."""
    return Verdict(
        False,
        "V2 makes the argument, in section 3.2 and appendix A; Xception is about ReLU after the depthwise layer.",
    )


def from_inception() -> Verdict:
    """Where depthwise separable convolutions come from."""
    return Verdict(
        False, "V1, section 2 names an earlier thesis, of Sifre, and says that Inception used them afterwards."
    )


def v1_paper_says_relu6() -> Verdict:
    """What V1's paper calls its non-linearity."""
    return Verdict(True, "V1, Figure 3 says ReLU; ReLU6 is in the authors' code.")
