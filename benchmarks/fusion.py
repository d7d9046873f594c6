"""What fusing an inverted residual is worth, and how it is best cut: by rows or by channels?

    python benchmarks/fusion.py [--quick] [--core avx2] [--json FILE] [--rounds N]

For every different block of MobileNetV2 1.0 at 224x224, one image, float32, milliseconds:

    steps       its convolutions one after the other, each result whole in memory (folding.FoldedBlock)
    rows        fused, in bands of rows; each band computes the row or two above and below it too
    channels    fused, whole images, a piece of the wide channels at a time: t pieces, the paper's t-way split

and KB of what each works in, the block's own input and output not counted. * marks the way that the engine takes.
The three take turns in one process; a time is the median, and `gain` is steps over the engine's way. Results are
compared before anything is timed. Threads: one, then two, Numba's; BLAS always runs on one.
"""

import os
import statistics
import time

import numpy as np
from common.command import arguments, carry_out, progress
from common.machine import environment
from common.report import machine, thread_count, where


def blocks():
    """Every block with a depthwise convolution in it, with the shape of its input; the stem goes with the first."""
    from npmnv2 import mobilenet_v2
    from npmnv2.engine.folding import FoldedBlock, folded

    network = folded(mobilenet_v2())
    x, stem = np.zeros((1, 224, 224, 3), np.float32), network.blocks[0]
    seen = set()
    for block in network.blocks[1:-1]:
        if stem is not None:
            block, stem = FoldedBlock("stem, " + block.name, stem.convs + block.convs, False), None
        key = (x.shape, *(conv.w.shape for conv in block.convs), block.convs[-2].stride)
        if key not in seen:
            seen.add(key)
            yield block, x.shape
        x = np.zeros_like(block(x))


def ways(block, x, threads):
    """Name -> (call, KB it works in, t) of the ways to run a block, the results compared."""
    from npmnv2.kernels.arrays import empty
    from npmnv2.kernels.inference_block import cutting
    from npmnv2.kernels.inference_block.records import STEM, Scratch
    from npmnv2.kernels.tiles import CHANNELS

    raw, narrow = cutting.block_of(block.convs, block.residual), x
    exact = block(narrow)
    between = [x.shape]
    for conv in block.convs:
        between.append(conv(np.zeros(between[-1], x.dtype)).shape)
    calls = {"steps": (lambda: block(narrow), sum(4 * int(np.prod(shape)) for shape in between[1:-1]) / 1024, None)}
    if raw.source != STEM:  # between blocks a pixel has room for whole panels of 16 channels
        x = np.zeros((*x.shape[:3], cutting.whole(raw.C)), x.dtype)
        x[..., : raw.C] = narrow
    cuts = {"rows": cutting.cut_by_rows(raw, x.shape, threads)}
    if raw.source != STEM:  # which is not cut by channels
        cuts["channels"] = cutting.cut_by_channels(raw, x.shape, threads)
    for name, cut in cuts.items():
        plan = cutting.plan_as(raw, x.shape, threads, cut)
        scratch = Scratch(*(empty(shape, x.dtype) for shape in plan.scratch))
        out = empty(plan.out, x.dtype)
        run = cutting.bind(cutting.packed(raw, cut.piece), plan, out, scratch)

        def call(run=run, out=out):
            run(x)
            return out[..., : exact.shape[3]]

        assert abs(call() - exact).max() <= 1e-5 * max(1, abs(exact).max()), (block.name, name)
        pieces = -(-cutting.whole(raw.weights.bd.size) // CHANNELS // cut.piece)
        calls[name] = (call, sum(array.nbytes for array in scratch) / 1024, pieces)
    chosen = "rows" if cutting.plan(raw, x.shape, threads).cut == cuts["rows"] else "channels"
    return calls, chosen


def compare(calls, rounds):
    """Median milliseconds of each way, taking turns; a turn is some calls, of about 3 ms."""
    repeats, times = {}, {name: [] for name in calls}
    for name, (call, *_) in calls.items():
        call()
        start = time.perf_counter()
        call()
        repeats[name] = max(1, int(0.003 / (time.perf_counter() - start)))
    for _ in range(rounds):
        for name, (call, *_) in calls.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            times[name].append((time.perf_counter() - start) / repeats[name] * 1e3)
    return {name: statistics.median(some) for name, some in times.items()}


def run(args):
    from npmnv2.backends import backend
    from npmnv2.runtime.threads import limit_threads, one_pool

    rng, rows = np.random.default_rng(0), []
    info, most = environment(), min(2, os.cpu_count() or 1)
    chosen_blocks = list(blocks())
    for threads in range(1, most + 1):
        for block, shape in chosen_blocks[:: 4 if args.quick else 1]:
            progress(f"{block.name}, {threads} threads")
            x = rng.normal(size=shape).astype(np.float32)
            with backend("numba"), limit_threads(threads), one_pool():
                calls, chosen = ways(block, x, threads)
                times = compare(calls, args.rounds)
            convs = block.convs
            middle = convs[-2].bias.size
            rows.append(
                {
                    "block": block.name,
                    "threads": threads,
                    "shape": f"{shape[1]}x{shape[2]}x{shape[3]} {middle}"
                    + f" {convs[-1].bias.size}"
                    + (" /2" if convs[-2].stride == 2 else ""),
                    "chosen": chosen,
                    "ms": times,
                    "kb": {name: kb for name, (_, kb, _) in calls.items()},
                    "t": {name: t for name, (_, _, t) in calls.items() if t},
                }
            )
    progress("")
    return {"environment": info, "results": rows}


def show(report):
    print(f"{machine(report['environment'])}\n")
    print("\n".join(table(report["results"])))


def table(rows):
    for threads in sorted({row["threads"] for row in rows}):
        yield thread_count(threads)
        yield "x, wide, out               steps    rows    channels  t   gain |  KB: steps  rows  ch."
        for row in rows:
            if row["threads"] == threads:
                ms, kb, star = row["ms"], row["kb"], row["chosen"]
                cells = [f"{ms[way]:.3f}" + ("*" if way == star else " ") if way in ms else "-  " for way in kb]
                cells += ["-  "] * (3 - len(cells))
                room = [f"{kb[way]:.0f}" if way in kb else "-" for way in ("steps", "rows", "channels")]
                yield (
                    f"{row['shape']:<22} {cells[0]:>9} {cells[1]:>8} {cells[2]:>9} {row['t'].get('channels', '-'):>3}"
                    f" {ms['steps'] / ms[star]:>6.2f} | {room[0]:>10} {room[1]:>5} {room[2]:>5}"
                )
        yield ""


def draw(report, path):
    """Bars of every block: milliseconds, a panel a number of threads."""
    import matplotlib.pyplot as plt

    rows = report["results"]
    looks = {"steps": ("#d55e00", ""), "rows": ("#0072b2", "//"), "channels": ("#009e73", "..")}
    counts = sorted({row["threads"] for row in rows})
    figure, panels = plt.subplots(len(counts), 1, figsize=(11, 3.6 * len(counts)), squeeze=False, layout="constrained")
    for panel, threads in zip(panels[:, 0], counts, strict=True):
        mine = [row for row in rows if row["threads"] == threads]
        for k, (way, (colour, hatch)) in enumerate(looks.items()):
            bars = [row["ms"].get(way, 0) for row in mine]
            places = np.arange(len(mine)) + 0.27 * (k - 1)
            labels = {
                "steps": "one convolution after the other",
                "rows": "fused by rows",
                "channels": "fused by channels",
            }
            panel.bar(places, bars, 0.27, color=colour, hatch=hatch, edgecolor="white", label=labels[way])
            for x, row in zip(places, mine, strict=True):
                if row["chosen"] == way:
                    panel.text(x, row["ms"][way], "*", ha="center", va="bottom")
        shown = [row["shape"].replace(" ", "\n", 1) for row in mine]
        panel.set_xticks(np.arange(len(mine)), shown, fontsize=8)
        panel.set_ylabel("milliseconds")
        panel.set_title(thread_count(threads), loc="left")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0, 0].legend(frameon=False, title="* what the engine does")
    panels[-1, 0].set_xlabel("block of MobileNetV2 1.0 at 224x224: its input, then its wide and its output channels")
    figure.suptitle(f"What fusing a block is worth: one image, float32\n{where(report['environment'])}")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main():
    args = arguments(__doc__.split("\n", 1)[0], "every fourth block, in seconds", rounds=40)
    carry_out(args, run, show, draw)


if __name__ == "__main__":
    main()
