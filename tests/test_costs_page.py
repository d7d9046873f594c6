"""Every table of docs/costs.md and docs/published.md is what the code gives, cell by cell, and none is left out.

A function a table; a heading of a page a table. To make one anew after a change, print `markdown(...)` of it.
"""

import pathlib
import re

import pytest
from cases import table
from test_cost_counting import TOOLS
from test_published import (
    CUT_OFF,
    LATER,
    NOT_EXPLAINED,
    OWN,
    PARTS,
    ROUNDED_UP,
    V1,
    V2,
    WITHOUT_STEM,
    alexnet,
    contradicted,
    named,
    printed_rule,
    rounded,
    shallow,
    squeezenet,
    vgg16,
)

from npmnv2 import cost
from npmnv2.cost import convolution, counting, memory, separable, total
from npmnv2.models.mobilenet_v2 import plan

DOCS = pathlib.Path(__file__).parent.parent / "docs"
PAGES = "\n\n".join((DOCS / name).read_text(encoding="utf-8") for name in ("costs.md", "published.md"))


def tables(text):
    """heading -> the cells of the one table under it."""
    found, heading = {}, ""
    for block in re.split(r"\n\n+", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)):
        if block.startswith("#"):
            heading = block.lstrip("# ")
        elif block.startswith("|"):
            assert heading not in found, f"two tables under {heading!r}"
            rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.strip().split("\n")]
            found[heading] = [rows[0], *rows[2:]]
    return found


def markdown(rows):
    """The text of a table."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    right = [all(re.match(r"[-\d., %]+$", row[k]) for row in rows[1:]) for k in range(len(rows[0]))]
    return "\n".join([lines[0], "|" + "|".join("---:" if r else "---" for r in right) + "|", *lines[1:]])


def millions(number, digits=2):
    return f"{rounded(number / 1e6, digits):.{digits}f}"


# -- layers


def gain():
    rows = [["M", "gain", "bytes, standard", "bytes, separable", "gain in bytes"]]
    for M in (8, 16, 32, 64, 128, 256, 512, 1024):
        standard, pair = convolution("standard", 28, 28, M, M), total(separable(28, 28, M, M))
        assert standard.madds / pair.madds == pytest.approx(cost.separable_gain(M))
        ratio = standard.bytes / pair.bytes
        row = [f"{cost.separable_gain(M):.2f}", f"{standard.bytes:,}", f"{pair.bytes:,}", f"{ratio:.2f}"]
        rows.append([str(M), *row])
    return rows


def parts():
    layers, names = cost.mobilenet_v2(), {"dw": "depthwise", "fc": "classifier"}
    whole = total(layers)
    rows = [["part", "layers", "multiply-adds", "%", "weights", "%", "multiply-adds a byte"]]
    for part in [*PARTS, "all"]:
        own = named(layers, part) if part != "all" else layers
        sums = total(own)
        shares = (f"{100 * sums.madds / whole.madds:.2f}", f"{100 * sums.weights / whole.weights:.2f}")
        rows.append([names.get(part, part), str(len(own)), f"{sums.madds:,}", shares[0], f"{sums.weights:,}", shares[1],
                     f"{sums.intensity:.2f}"])  # fmt: skip
    return rows


def counters():
    layers = cost.mobilenet_v2()
    words = {
        "madd": "multiply-adds",
        "batchnorm": "elements of batch norm",
        "batchnorm_parameter": "parameters of batch norm",
        "relu6": "elements of ReLU6",
        "pool": "elements of the pool",
        "bias": "biases",
    }
    quantities = counting.quantities(layers)
    rows = [["tool", "prints", "convention", "which is"]]
    for tool, name in TOOLS.items():
        convention, terms = counting.find(name), []
        for what, word in words.items():
            factor, number = getattr(convention, what), getattr(quantities, what)
            if factor:
                terms.append(f"{'' if factor == 1 else f'{factor} x '}{number:,} {word}")
        said = " + ".join(terms)
        if convention.unit > 1:
            said += ", " + ("rounded" if convention.rounded else "cut off") + " to millions"
        rows.append([tool, f"{counting.count(layers, name):,}", f"`{name}`", said])
    return rows


# -- checkpoints


def checkpoints_v2():
    rows = [["width", "size", "multiply-adds", "printed, M", "weights", "printed, M", "parameters", "top-1, %"]]
    for row in V2:
        sums = total(cost.mobilenet_v2(float(row["width"]), int(row["res"])))
        mark = "" if rounded(sums.madds / 1e6) == int(row["pub_macs_M"]) else " †"
        rows.append([row["width"], row["res"], f"{sums.madds:,}", row["pub_macs_M"] + mark, f"{sums.weights:,}",
                     row["pub_params_M"], f"{sums.parameters:,}", row["top1"]])  # fmt: skip
    return rows


def checkpoints_v1():
    rows = [["width", "size", "multiply-adds", "without the stem", "printed, M", "rule", "parameters", "printed, M"]]
    for row in V1:
        layers = cost.mobilenet_v1(float(row["width"]), int(row["res"]), 1001)
        sums, bodies, which = total(layers), total(layers[1:]), (row["width"], row["res"])
        rule = (
            "without the stem" if which in WITHOUT_STEM
            else "rounded up" if which in ROUNDED_UP
            else "none: a misprint" if which in NOT_EXPLAINED
            else "rounded"
        )  # fmt: skip
        stored = sums.weights + 1001 + 3 * sum(layer.batchnorm for layer in layers)
        rows.append([row["width"], row["res"], f"{sums.madds:,}", f"{bodies.madds:,}", row["pub_macs_M"], rule,
                     f"{stored:,}", row["pub_params_M"]])  # fmt: skip
    return rows


# -- V1's tables


def table_1():
    rows = [["block", "output", "stride", "depthwise, M", "pointwise, M", "weights"]]
    layers = cost.mobilenet_v1()
    for name in dict.fromkeys(layer.name.partition(".")[0] for layer in layers):
        own = [layer for layer in layers if layer.name.partition(".")[0] == name]
        works = [millions(layer.madds) for layer in own] if len(own) == 2 else ["", ""]
        label = name if len(own) == 2 else f"{name}: {millions(own[0].madds)} M"
        size = "x".join(map(str, own[-1].out_shape))
        rows.append([label, size, str(own[0].stride), *works, f"{total(own).weights:,}"])
    return rows


def table_2():
    layers = cost.mobilenet_v1()
    whole = total(layers)
    kinds = {"Conv 1x1": "pointwise", "Conv DW 3x3": "depthwise", "Conv 3x3": "standard", "Fully Connected": "linear"}
    rows = [["type", "multiply-adds", "%", "printed, %", "weights", "%", "printed, %"]]
    for row in table("v1_table2_resource_per_layer.csv"):
        sums = total(layer for layer in layers if layer.kind == kinds[row["type"]])
        madds, weights = 100 * sums.madds / whole.madds, 100 * sums.weights / whole.weights
        rows.append([row["type"], f"{sums.madds:,}", f"{madds:.2f}", row["pub_macs_pct"],
                     f"{sums.weights:,}", f"{weights:.2f}", row["pub_params_pct"]])  # fmt: skip
    return rows


def table_3():
    rows = [["layer", "multiply-adds", "printed, M", "weights", "printed, M"]]
    made = [
        ("14x14, standard, 512 to 512", [convolution("standard", 14, 14, 512, 512)]),
        ("14x14, separable, 512 to 512", separable(14, 14, 512, 512)),
        ("and width 0.75: 384 to 384", separable(14, 14, 384, 384)),
        ("and resolution 0.714: 10x10", separable(10, 10, 384, 384)),
    ]
    for (name, layers), row in zip(made, table("v1_table3_layer_example.csv"), strict=True):
        sums = total(layers)
        rows.append([name, f"{sums.madds:,}", row["pub_macs_M"], f"{sums.weights:,}", row["pub_params_M"]])
    return rows


def tables_4_to_9():
    assert set(OWN) > CUT_OFF and shallow() == OWN["T5 Shallow MobileNet"]
    rows = [["table and network", "multiply-adds", "printed, M", "rule", "weights", "printed, M"]]
    for row in LATER:
        if row["model"] in OWN:
            layers = OWN[row["model"]]
            sums, rule = total(layers), printed_rule(row["model"], layers)[1]
            rows.append([row["model"].replace("T", "", 1), f"{sums.madds:,}", row["pub_macs_M"], rule,
                         f"{sums.weights:,}", row["pub_params_M"]])  # fmt: skip
    return rows


def others():
    """From their own papers; GoogLeNet is quoted only."""
    made = {
        "VGG16": (vgg16(), "without the linear layers, cut off"),
        "AlexNet": (alexnet(), "cut off"),
        "SqueezeNet": (squeezenet(227), "two operations a multiply-add"),
    }
    rows = [["table and network", "multiply-adds", "printed, M", "rule", "parameters", "printed, M"]]
    for row in LATER:
        number, _, name = row["model"].replace("T", "", 1).partition(" ")
        if row["model"] not in OWN:
            layers, rule = made.get(name, ([], "quoted, not recomputed"))
            figures = [f"{figure:,}" if figure else "" for figure in (total(layers).madds, total(layers).parameters)]
            rows.append([f"{number} {name}", figures[0], row["pub_macs_M"], rule, figures[1], row["pub_params_M"]])
    return rows


# -- memory


def table_3_of_v2():
    rows = [["network", "size", "printed: channels/kB", "right: channels", "bytes", "what is wrong"]]
    why = {"V1": "kilobytes: 1024 channels are 100", "ShuffleNet": "channels of 2 groups; the caption says 3"}
    for name, side, channels, kilobytes, right, exact, what in contradicted():
        reason = why.get(name, f"channels of the stage that begins at {side}x{side}")
        if what == "kilobytes" and name == "V2":
            reason = "rounded up; all other entries are cut off"
        if name == "ShuffleNet" and side == 112:
            reason = "24 channels, times 2, as at 56x56"
        rows.append([name, f"{side}x{side}", f"{channels}/{kilobytes}", str(right), f"{exact:,}", reason])
    return rows


def parts_t():
    rows = [["t", "peak, float32", "peak, 16 bits", "where", "b1.0, float32"]]
    layers = cost.mobilenet_v2()
    block = [layer for layer in layers if layer.name.startswith("b1.0.")]
    for t in range(1, 7):
        most = memory.peak(memory.split_schedule(layers, t))
        half = memory.peak(memory.split_schedule(layers, t, 2))
        assert half.name == most.name
        alone = memory.inverted_residual(block, t)
        rows.append([str(t), f"{most.bytes:,}", f"{half.bytes:,}", most.name, f"{alone.bytes:,}"])
    return rows


# -- mistakes


def mistakes():
    v1, v2 = total(cost.mobilenet_v1()), total(cost.mobilenet_v2())
    wide, body = total(cost.mobilenet_v2(1.4)), total(cost.mobilenet_v1()[:-1])
    misprint = total(cost.mobilenet_v1(strides=(2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 2)))
    literal = v2.madds + convolution("pointwise", 112, 112, 32, 32).madds
    early = total(cost.mobilenet_v2(strides=(2, 1, 2, 2, 1, 2, 2, 1)))
    twin = total(cost.mobilenet_v1_conv())
    smallest = min(total(cost.mobilenet_v2(float(row["width"]), int(row["res"]))).madds for row in V2)
    return [
        ["where", "printed", "what the architecture gives"],
        ["V1, Table 1", "stride 2 in the last depthwise layer", f"stride 1; with 2 it would be {misprint.madds:,}"],
        ["V1, Table 2", "1.19 % in the 3x3 convolution", f"{100 * 10838016 / v1.madds:.2f} %: two digits are swapped"],
        ["V1, Table 4", "4866 M for Conv MobileNet, 569 M for MobileNet", f"4866 leaves the classifier out, 569 does "
         f"not; with it they are {millions(twin.madds)} M and {millions(v1.madds)} M"],
        ["V1, Table 7", "290 M at 160x160", f"{millions(total(cost.mobilenet_v1(1.0, 160)).madds)} M: cut off; the "
         "checkpoints' page rounds to 291"],
        ["V1, section 4.4", "0.58 million multiply-adds for PlaNet", f"billion: {millions(body.madds, 1)} M in the "
         "body, and 10 M in a classifier of 10 M weights"],
        ["V1, Table 9", "1700 M for SqueezeNet", f"{millions(total(squeezenet(227)).madds, 1)} M multiply-adds, "
         "half as many"],
        ["V1, checkpoints", "317, 233, 162, 104 M at width 0.75", "the stem is left out, there alone"],
        ["V1, checkpoints", "34 M at 0.25, 192", f"{millions(total(cost.mobilenet_v1(0.25, 192)).madds)} M"],
        ["V1, checkpoints", "150 M at 0.5, 224", f"{millions(total(cost.mobilenet_v1(0.5)).madds, 3)} M; 149 in the "
         "paper"],
        ["V2, section 4", "19 residual bottleneck layers", f"Table 2 adds up to {len(plan()[1])}"],
        ["V2, section 4", "from 7 multiply-adds to 585 M", f"from {millions(smallest)} M to {millions(wide.madds)} M"],
        ["V2, Tables 1 and 2", "an expansion in every block", f"none at t = 1; with one it would be {literal:,}"],
        ["V2, Table 2, an early version", "stride 1 for 64, 2 for 96 channels", f"the other way round; as printed it "
         f"would be {early.madds:,}"],
        ["V2, section 3.3", "one formula for every block", "it ignores stride and t = 1: 347,672,640 at the input's "
         "size, 247,110,528 at the output's; the blocks have 268,585,856"],
        ["V2, Table 3", "ten entries, and the largest of ShuffleNet", "see [above](#table-3-of-v2)"],
        ["V2, Table 4", "575 M for MobileNetV1", f"{millions(v1.madds)} M; V1's paper says 569"],
        ["V2, Table 4", "6.9 M parameters, 585 M at width 1.4", f"{millions(wide.weights)} M weights, "
         f"{millions(wide.parameters)} M parameters, {millions(wide.madds)} M multiply-adds"],
    ]  # fmt: skip


def efficientnet_lite():
    rows = [["network", "width", "depth", "resolution", "blocks", "parameters", "printed, M", "multiply-adds",
             "printed, M", "with batch norm, M"]]  # fmt: skip
    for row in table("efficientnet_lite.csv"):
        width, depth, resolution = row["width"], row["depth"], row["resolution"]
        layers = cost.efficientnet_lite(float(width), int(resolution), depth_mult=float(depth))
        sums, counted = total(layers), counting.quantities(layers)
        blocks = sum(layer.name.endswith(".project") for layer in layers)
        assert f"{millions(sums.parameters, 1)}" == row["parameters_millions"]
        rows.append([row["network"].capitalize(), width, depth, resolution, str(blocks), f"{sums.parameters:,}",
                     row["parameters_millions"], f"{sums.madds:,}", row["madds_millions"],
                     millions(counted.madd + 3 * counted.batchnorm, 1)])  # fmt: skip
    return rows


TABLES = {
    "The gain by number of channels": gain,
    "MobileNetV2, part by part": parts,
    "What tools print": counters,
    "The 22 checkpoints of V2": checkpoints_v2,
    "The 16 checkpoints of V1": checkpoints_v1,
    "EfficientNet-Lite": efficientnet_lite,
    "Table 1 of V1": table_1,
    "Table 2 of V1": table_2,
    "Table 3 of V1": table_3,
    "Tables 4 to 9 of V1": tables_4_to_9,
    "The other networks in Tables 8 and 9": others,
    "Table 3 of V2": table_3_of_v2,
    "A block in t parts": parts_t,
    "Where the papers are wrong": mistakes,
}


@pytest.mark.parametrize("heading", TABLES)
def test_table_is_what_the_code_gives(heading):
    assert tables(PAGES)[heading] == TABLES[heading]()


def test_every_table_of_figures_is_checked():
    assert set(tables(PAGES)) - set(TABLES) == {"One layer", "What is counted"}  # words and formulas
    assert not [line for line in PAGES.split("\n") if len(line) > 160 and not line.startswith("|")]
