"""Which numbers suit this core? Measures those of npmnv2/kernels/tuning.py, and prints why each is what it is.

    python benchmarks/tune.py [--quick] [--core avx2] [--only NUMBER ...] [--json FILE] [--rounds N] [--patience S]

For each number a table: a row for every case, a column for every candidate, milliseconds. They are the least of many
turns: what others do on the machine only adds to a time. `2 t` are two threads, all else is on one. The last row is the
mean over the cases of the time over that of the number that stands in tuning.py, marked *; the line below says which
candidate is best by it, and what the difference is worth. Less than 2 % may be another in the next run: such a number
stays.

    pixels      of a tile. x @ w by tiles at sizes of MobileNet ("784x192 by 32"), Gflop/s; without --quick the whole
                network too, 1x224x224. The only number that is compiled into the kernels: each candidate has a process
                of its own, in which it replaces tuning.py's before a kernel is imported, and a cache folder of its own
    rows_from   columns from which an inference block is cut by rows: blocks of 14 to 56 columns
    cache       bytes of the rows that a core works on: blocks of 112 and 56 columns, and KB of all scratch memory
    piece       channels of a piece: blocks of 14x14 and 7x7
    gather      pixels that several small images have together: batches of images of 3x3 to 7x7
    training    tile, piece, tasks, recompute, few: a step of a block, forward and backward; chunk: batch norm, both
                ways; update: SGD. Their bits depend on these, so all cores share them. `least` is not measured: no
                MobileNet has so few channels in a piece

A block's name is its input, how many images, its channels in the middle and behind. What is timed equals NumPy's
product, or is what the tests check.
"""

import functools
import importlib.util
import os
import sys
import tempfile
from typing import Any, NamedTuple

import numpy as np
from common import ROOT
from common.command import arguments, carry_out, progress
from common.machine import environment
from common.measure import Patience, aligned, contestants, copier, silent, start, take_turns
from common.report import machine, show_turns

PRODUCTS = [(12544, 16, 96), (3136, 144, 24), (784, 192, 32), (196, 384, 64), (196, 96, 576), (49, 960, 160)]
NEVER = 1 << 30  # of `recompute`
WAKE = "wake"  # the first call of a turn, not reported: threads were asleep
WORTH = 0.02  # a smaller difference changes no number


class Question(NamedTuple):
    """What is measured for one number."""

    record: str  # of tuning.py: TUNING, TRAINING
    candidates: tuple[int, ...]
    cases: tuple[Any, ...]  # inference: (images, pixels of the network's input, block); training: (images, H, C, M)


QUESTIONS = {
    "pixels": Question("TUNING", (4, 5, 6, 7, 8, 9), ()),
    "rows_from": Question(
        "TUNING",
        (14, 20, 28, 56, 112),
        ((1, 224, "b3.1"), (1, 224, "b4.1"), (1, 320, "b3.1"), (1, 160, "b2.1"), (1, 224, "b2.1"), (1, 224, "b1.1")),
    ),
    "cache": Question(
        "TUNING", tuple(1 << k for k in range(17, 22)), tuple((1, 224, f"b{b}") for b in ("0.0", "1.0", "1.1", "2.0"))
    ),
    "piece": Question(
        "TUNING",
        (32, 64, 96, 128, 192, 320, 960),
        ((1, 224, "b3.1"), (1, 224, "b4.1"), (1, 224, "b5.1"), (1, 224, "b6.0"), (8, 224, "b3.1"), (8, 224, "b5.1")),
    ),
    "gather": Question(
        "TUNING",
        (49, 100, 160, 256, 400),
        ((8, 96, "b5.1"), (32, 96, "b5.1"), (8, 160, "b5.1"), (8, 224, "b5.1"), (8, 96, "b3.1"), (8, 96, "b6.0")),
    ),
}
BLOCKS = ((16, 24, 24, 24), (16, 6, 64, 64), (8, 56, 24, 24), (8, 14, 64, 64), (8, 7, 160, 160))
QUESTIONS |= {
    f"training {name}": Question("TRAINING", candidates, BLOCKS)
    for name, candidates in {
        "tile": (64, 128, 256, 512, 1024),
        "piece": (96, 128, 192, 256, 384),
        "tasks": (4, 8, 16, 32),
        "recompute": (0, 32, 64, 128, NEVER),
        "few": (48, 96, 192, 384, 768),
    }.items()
}
QUESTIONS["training chunk"] = Question("TRAINING", tuple(1 << k for k in range(12, 18)), ((16, 24, 144), (8, 56, 144)))
QUESTIONS["training update"] = Question("TRAINING", tuple(1 << k for k in range(10, 16, 2)), (100_000, 3_500_000))


def standing(number):
    """What tuning.py says for this core."""
    from npmnv2.kernels import tuning

    return getattr(getattr(tuning, QUESTIONS[number].record), number.split()[-1])


def candidates(number):
    """With the one that stands there."""
    return sorted({*QUESTIONS[number].candidates, standing(number)})


# In the processes that are timed.


def prepare(name, case):
    """Calls by "case | candidates with the same plan | KB of scratch". name: "pixels=7", or what needs no compiling."""
    number, folder, quick = case
    if number == "pixels":
        compile_with(int(name.partition("=")[2]), folder)
        calls = {**products(), **({} if quick else whole_network())}
        return {f"{key}|{name.partition('=')[2]}|": silent(call) for key, call in calls.items()}
    calls = inference(number) if QUESTIONS[number].record == "TUNING" else training(number, quick)
    return {WAKE: silent(copier(1 << 16)), **calls}


def compile_with(pixels, folder):
    """Be a process whose tiles have so many pixels. Called before `kernels` is imported, which imports the tiles."""
    assert "npmnv2.kernels" not in sys.modules
    os.environ["NUMBA_CACHE_DIR"] = os.path.join(folder, str(pixels))
    name = "npmnv2.kernels.tuning"
    spec = importlib.util.spec_from_file_location(name, ROOT / "npmnv2/kernels/tuning.py")
    tuning = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tuning)
    tuning.TUNING = tuning.TUNING._replace(pixels=pixels)


def products():
    from npmnv2.kernels.products import product

    rng, calls = np.random.default_rng(0), {}
    for P, C, M in PRODUCTS:
        x, w, out = aligned(rng.normal(size=(P, C))), aligned(rng.normal(size=(C, M))), aligned(np.zeros((P, M)))
        product(x, w, True, out)
        np.testing.assert_allclose(out, x @ w, rtol=1e-4, atol=1e-3)
        calls[f"{P}x{C} by {M}"] = lambda x=x, w=w, out=out: product(x, w, True, out)
    return calls


def whole_network():
    import npmnv2

    engine, x = npmnv2.fuse(npmnv2.mobilenet_v2()), aligned(np.random.default_rng(0).normal(size=(1, 224, 224, 3)))
    return {"network": lambda: engine(x)}


def inference(number):
    """Blocks as the engine runs them. Candidates that cut a block alike share a call."""
    import numba

    from npmnv2.kernels.inference_block import cutting

    threads, calls, tuning = numba.get_num_threads(), {}, cutting.TUNING
    for images, pixels, name in QUESTIONS[number].cases:
        block, shape = inference_blocks(images, pixels)[name]
        plans = {}
        for candidate in candidates(number):
            cutting.TUNING = tuning._replace(**{number: candidate})
            plans.setdefault(cutting.plan(block, shape, threads), []).append(candidate)
        cutting.TUNING = tuning
        for plan, alike in plans.items():
            call, KB = call_of(block, shape, plan)
            calls[f"{shape_of(plan.sizes, block, images)}|{' '.join(map(str, alike))}|{KB:.0f}"] = call
    return calls


def inference_blocks(images, pixels):
    """Every block of MobileNetV2 and the shape of its input, by name; the stem goes with the first."""
    from npmnv2 import mobilenet_v2
    from npmnv2.engine.folding import folded
    from npmnv2.kernels.inference_block import cutting

    stem, first, *rest = folded(mobilenet_v2()).blocks[:-1]
    shape, found = (images, pixels, pixels, 3), {}
    for name, convs, shortcut in [
        (first.name, stem.convs + first.convs, False),
        *((block.name, block.convs, block.residual) for block in rest),
    ]:
        block = cutting.block_of(convs, shortcut)
        sizes, _ = cutting.sizes_of(block, shape)
        found[name] = block, shape
        shape = images, sizes.OH, sizes.OW, cutting.whole(block.weights.bp.size)
    return found


def shape_of(sizes, block, images):
    E, M = block.weights.bd.size, block.weights.bp.size
    return f"{images}x{sizes.H}x{sizes.W}x{block.C} {E} {M}" + (" /2" if sizes.stride == 2 else "")


def call_of(block, shape, plan):
    """What runs a block cut so, and KB of its scratch memory."""
    from npmnv2.kernels.arrays import empty
    from npmnv2.kernels.inference_block import cutting
    from npmnv2.kernels.inference_block.records import Scratch

    x = aligned(np.random.default_rng(0).normal(size=shape))
    x[..., block.C :] = 0
    scratch = Scratch(*(empty(shape, x.dtype) for shape in plan.scratch))
    run = cutting.bind(cutting.packed(block, plan.cut.piece), plan, empty(plan.out, x.dtype), scratch)
    return silent(lambda: run(x)), sum(array.nbytes for array in scratch) / 1024


def training(number, quick):
    """A call for every case, or every second, and candidate."""
    from npmnv2.kernels import sgd, tuning
    from npmnv2.kernels.batchnorm import loops
    from npmnv2.kernels.training_block import cutting

    name, calls = number.split()[-1], {}
    holders = {"chunk": (loops, "TRAINING", norm), "update": (sgd, "TRAINING", update)}
    holder, attribute, make = holders.get(name, (cutting, "TUNING", step))

    def with_number(candidate, call):
        setattr(holder, attribute, tuning.TRAINING._replace(**{name: candidate}))
        call()

    cases = QUESTIONS[number].cases
    for case in cases[::2] if quick and cases is BLOCKS else cases:
        label, call = make(case)
        for candidate in candidates(number):
            calls[f"{label}|{candidate}|"] = silent(functools.partial(with_number, candidate, call))
    return calls


def step(case):
    from npmnv2.backends import backend
    from npmnv2.nn.blocks import InvertedResidual

    images, H, C, M = case
    rng = np.random.default_rng(0)
    block, x = InvertedResidual(C, M, stride=1, t=6, rng=rng), aligned(rng.normal(size=(images, H, H, C)))
    dout = aligned(rng.normal(size=(images, H, H, M)))

    def call():
        with backend("numba"):
            block(x)
            block.backward(dout)

    return f"{images}x{H}x{H}x{C} {6 * C} {M}", call


def norm(case):
    from npmnv2.backends import backend
    from npmnv2.nn.layers import BatchNorm

    images, H, C = case
    layer, x = BatchNorm(C), aligned(np.random.default_rng(0).normal(size=(images, H, H, C)))

    def call():
        with backend("numba"):
            layer(x)
            layer.backward(x)

    return f"{images}x{H}x{H}x{C}", call


def update(values):
    from npmnv2.kernels import sgd

    value, velocity, grad = (aligned(np.zeros(values)) for _ in range(3))
    return f"{values:,} values", lambda: sgd.step(value, velocity, grad, 0.1, 0.9, 1e-4)


# In the process that reports.


def run(args):
    report = {"environment": environment(), "quick": args.quick, "results": {}}
    patience = Patience(min(args.patience, 5) if args.quick else args.patience)
    numbers = args.only or [*QUESTIONS]
    for number in numbers:
        report["results"][number] = {"standing": standing(number), "ms": {}, "KB": {}}
    compiled, others = [n for n in numbers if n == "pixels"], [n for n in numbers if n != "pixels"]
    plan = [(1, compiled, [f"pixels={n}" for n in candidates("pixels")])]
    plan += [(threads, others, ["numbers"]) for threads in range(1, min(2, os.cpu_count() or 1) + 1)]
    for threads, asked, names in plan:
        with tempfile.TemporaryDirectory() as folder, contestants(__file__, names if asked else [], threads) as workers:
            for number in asked:
                progress(f"{number}, {threads} threads")
                ready = start(workers, {}, [number, folder, args.quick], report["environment"], None)
                rounds, seconds = (5, 0.005) if args.quick else (args.rounds, 0.02)
                times = take_turns(ready, rounds, seconds, patience)
                collect(times, "2 t: " if threads > 1 else "", report["results"][number])
    progress("")
    return report | {"turns": patience.report()}


def collect(times, prefix, found):
    """Least milliseconds and KB by case and candidate."""
    for (_, way), some in times.items():
        if way == WAKE:
            continue
        case, alike, KB = way.split("|")
        for candidate in alike.split():
            found["ms"].setdefault(prefix + case, {})[candidate] = min(some) * 1e3
            if KB:
                found["KB"].setdefault(prefix + case, {})[candidate] = int(KB)


def ratios(found):
    """By candidate the mean over the cases, the geometric one, of its time over that of the number that stands."""
    rows, now = found["ms"].values(), str(found["standing"])
    return {
        int(candidate): float(np.exp(np.mean([np.log(row[candidate] / row[now]) for row in rows])))
        for candidate in sorted(next(iter(rows)), key=int)
    }


def verdict(number, found):
    """Which is best, and what the difference is worth."""
    now, mean = found["standing"], ratios(found)
    best = min(mean, key=lambda n: (round(mean[n], 3), n != now))
    if best == now:
        return f"{number}: {now} is best here, and stands in tuning.py"
    gain = 1 - mean[best]
    told = f"{number}: {best} is best here, by {100 * gain:.1f} % of the time with {now}, which stands in tuning.py"
    return told + ("" if gain > WORTH else ": no reason to change it")


def show(report):
    print(f"{machine(report['environment'])}")
    for number, found in report["results"].items():
        print("\n" + "\n".join(table(number, found)))
    show_turns(report)


def table(number, found):
    mean = ratios(found)
    yield f"{number:<24}" + "".join(f"{n if n != NEVER else 'never':>9}" + " *"[n == found["standing"]] for n in mean)
    flops = {f"{P}x{C} by {M}": 2 * P * C * M for P, C, M in PRODUCTS}
    for case, row in found["ms"].items():
        times = [row[str(n)] for n in mean]
        cells = [f"{flops[case] / ms / 1e6:.1f}" if case in flops else f"{ms:.3f}" for ms in times]
        yield f"{case:<24}" + "".join(f"{cell:>9} " for cell in cells)
        if number == "cache":
            yield f"{'  KB':<24}" + "".join(f"{found['KB'][case][str(n)]:>9,} " for n in mean)
    yield f"{'mean':<24}" + "".join(f"{ratio:>9.3f} " for ratio in mean.values())
    yield verdict(number, found)


def main():
    def more(parser):
        parser.add_argument("--only", nargs="+", choices=[*QUESTIONS], metavar="NUMBER", help="measure these alone")

    args = arguments(__doc__.split("\n", 1)[0], "two minutes", rounds=15, patience=60, more=more)
    if args.plot:
        raise SystemExit("error: --plot: this script draws nothing")
    carry_out(args, run, show, None, prepare)


if __name__ == "__main__":
    main()
