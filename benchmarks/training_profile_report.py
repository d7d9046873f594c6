"""The parts of a training step, what the results of `training_profile.py` mean, how they are printed and drawn."""

from common.report import BLUE, machine, thread_count, where

BLOCK = "training_block."
PARTS = {  # what a module of `npmnv2.kernels` belongs to, or a kernel in it, which goes first
    BLOCK + "forward_loops.expand": "expand, depthwise, forward",
    BLOCK + "forward_loops.center": "expand, depthwise, forward",
    BLOCK + "depthwise_loops": "expand, depthwise, forward",
    BLOCK + "forward_loops.project": "project, forward",
    BLOCK + "backward_loops.project": "project, backward",
    BLOCK + "depthwise_backward_loops": "expand, depthwise, backward",
    BLOCK + "backward_loops.expand": "expand, depthwise, backward",
    BLOCK + "backward_loops.finish": "expand, depthwise, backward",
    "batchnorm.loops": "batch norms at the ends",
    BLOCK + "forward_loops.normalise": "batch norms at the ends",
    "conv.loops": "stem",
    "sgd": "SGD",
    "ops": "head, classifier (NumPy)",
}
REST, BETWEEN = "blocks, the rest", "between them"


def part_of(name):
    """Of a kernel, by its module and name, or of an operation of NumPy, "ops"."""
    return PARTS.get(name) or PARTS.get(name.rpartition(".")[0]) or REST


def parts_of(row):
    """In the order of a step."""
    order = [*dict.fromkeys(PARTS.values()), REST, BETWEEN]
    return [part for part in order if part in row["ms"]]


def heading(row):
    return f"{row['batch']}x{row['size']}x{row['size']}, {thread_count(row['threads'])}"


def show(report):
    print(f"{machine(report['environment'])}\n")
    print("\n".join(table(report["results"])))


def table(rows):
    for row in rows:
        whole = sum(row["ms"].values())
        yield f"{heading(row):<28}{'ms':>8}{'%':>6}{'limit':>9}{'x':>7}"
        for part in parts_of(row):
            ms, limit = row["ms"][part], row["limit_ms"].get(part)
            yield f"{part:<28}{ms:>8.2f}{ms / whole:>6.0%}" + (f"{limit:>9.2f}{ms / limit:>7.1f}" if limit else "")
        limit = sum(row["limit_ms"].values())
        yield f"{'the step':<28}{whole:>8.2f}{1:>6.0%}{limit:>9.2f}{whole / limit:>7.1f}"
        yield ""


def draw(report, path):
    """A bar for each part: its time, and in it the part of that which is arithmetic."""
    import matplotlib.pyplot as plt
    import numpy as np

    rows = report["results"]
    across = min(2, len(rows))
    size = {"figsize": (2 + 4.5 * across, 4.4 * -(-len(rows) // across)), "layout": "constrained"}
    figure, panels = plt.subplots(-(-len(rows) // across), across, sharey=True, squeeze=False, **size)
    for panel, row in zip(panels.flat, rows, strict=False):
        parts = parts_of(rows[0])
        places = np.arange(len(parts))[::-1]
        panel.barh(places, [row["ms"].get(part, 0) for part in parts], color="#56b4e9", label="measured")
        arithmetic = [row["limit_ms"].get(part, 0) for part in parts]
        panel.barh(places, arithmetic, 0.35, color=BLUE, hatch="//", edgecolor="white", label="its arithmetic")
        panel.set_yticks(places, parts)
        panel.set_title(heading(row), fontsize=10)
        panel.set_xlabel("ms")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0, 0].legend(frameon=False, loc="lower right")
    figure.suptitle(f"A training step of MobileNetV2 1.0, part by part, float32\n{where(report['environment'])}")
    figure.savefig(path, dpi=110)
    plt.close(figure)
