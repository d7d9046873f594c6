"""What `separable.py` asks, what its results mean, and how they are printed."""

from itertools import pairwise

from common.report import machine, show_missing, show_turns, thread_count
from separable_contestants import NAIVE_UP_TO

from npmnv2 import cost

SWEEP = [8, 16, 32, 64, 128, 256, 512, 1024]
SWEEP_TITLE = "14x14, C to C channels"


# The question.


def shapes_of(layers):
    """(H, C, M, stride) of every depthwise layer and the pointwise layer behind it, and how often each occurs."""
    found = {}
    for depthwise, pointwise in pairwise(layers):
        if depthwise.kind == "depthwise":
            H, _, C = depthwise.in_shape
            shape = (H, C, pointwise.out_shape[2], depthwise.stride)
            found[shape] = found.get(shape, 0) + 1
    return found


def label(shape):
    H, C, M, stride = shape
    return f"{H}x{H}x{C} > {M}" + (" /2" if stride == 2 else "")


def costs(shape):
    """What both sides cost, by formula, for one image."""
    H, C, M, stride = shape
    standard = cost.convolution("standard", H, H, C, M, stride=stride, batchnorm=False)
    halves = cost.separable(H, H, C, M, stride=stride)
    return standard, *halves


def exhibits(quick=False):
    """A title and the shapes under it."""
    v1, v2 = list(shapes_of(cost.mobilenet_v1())), list(shapes_of(cost.mobilenet_v2()))
    sweep = [(14, C, C, 1) for C in SWEEP]
    if quick:
        v1, v2, sweep = v1[5:6], [v2[0], v2[1], v2[7]], sweep[1:6:2]
    return {"MobileNetV1": v1, "MobileNetV2": v2, SWEEP_TITLE: sweep}


# What the results mean.


def gain(row, side, step=False):
    """Standard over separable, as `side` measured it; None if it did not."""
    times, end = row["times"][side], " step" if step else ""
    if f"standard{end}" not in times or f"separable{end}" not in times:
        return None
    return times[f"standard{end}"]["median_us"] / times[f"separable{end}"]["median_us"]


def most(row):
    """The largest realised fraction that the limits of the two halves allow, and which limit sets the longer half."""
    bounds = [max((half["arith_us"], "flop"), (half["bytes_us"], "byte")) for half in row["halves"].values()]
    standard = row["times"]["npmnv2"]["standard"]["median_us"]
    return standard / sum(us for us, _ in bounds) / row["formula"], max(bounds)[1]


def measured_exhibits(report):
    """The exhibits, of each the shapes that were measured."""
    there = {tuple(row["shape"]) for row in report["results"]}
    return {title: [shape for shape in shapes if shape in there] for title, shapes in exhibits().items()}


def in_exhibits(report):
    """The rows by (title, batch, threads), in the order of the exhibits."""
    found = {}
    for title, shapes in measured_exhibits(report).items():
        rows = [row for row in report["results"] if tuple(row["shape"]) in shapes]
        for row in sorted(rows, key=lambda row: shapes.index(tuple(row["shape"]))):
            if row["batch"] == 1 or title != SWEEP_TITLE:
                found.setdefault((title, row["batch"], row["threads"]), []).append(row)
    return found


def show_costs(asked):
    print("What one image costs, by formula: standard, then separable\n")
    for title, shapes in asked.items():
        print(f"{title}\n{'shape':<20}{'1000 weights':>16}{'million MAdds':>16}{'MB':>12}{'MAdds/byte':>14}")
        for shape in shapes:
            standard, *halves = costs(shape)
            weights, madds, size = (sum(getattr(h, what) for h in halves) for what in ("weights", "madds", "bytes"))
            print(
                f"{label(shape):<20}{standard.weights / 1e3:>9.1f}{weights / 1e3:>7.1f}"
                f"{standard.madds / 1e6:>9.1f}{madds / 1e6:>7.1f}{standard.bytes / 1e6:>7.2f}{size / 1e6:>5.2f}"
                f"{standard.intensity:>9.1f}{madds / size:>5.1f}"
            )
        print()


def show_table(title, rows, step):
    end, way = (" step", "forward and backward") if step else ("", "forward")
    N, threads = rows[0]["batch"], rows[0]["threads"]
    print(f"{title}: {way}, batch {N}, {thread_count(threads)}")
    head = f"{'shape':<19}{'std ms':>8}{'sep ms':>7}{'formula':>8}{'measured':>9}{'realised':>9}"
    print(head + (" " * 10 if step else f"{'most':>5}{'':5}") + f"{'ort':>5}{'pt':>5}")
    for row in rows:
        ours = row["times"]["npmnv2"]
        standard, separable = (ours[kind + end]["median_us"] for kind in ("standard", "separable"))
        line = f"{label(row['shape']):<19}{standard / 1e3:>8.3f}{separable / 1e3:>7.3f}{row['formula']:>8.2f}"
        line += f"{standard / separable:>9.2f}{standard / separable / row['formula']:>9.2f}"
        line += " " * 10 if step else "{:>5.2f} {}".format(*most(row))
        for side in ("onnxruntime", "torch"):
            theirs = row["times"][side].get(f"standard{end}")
            line += f"{standard / theirs['median_us']:>5.2f}" if theirs else f"{'-':>5}"
        print(line)
    print()


def show(report):
    info = report["environment"]
    print(machine(info))
    print(f"float32; one pool of threads at a time: Numba's ({info.get('threading layer')}), BLAS on one thread\n")
    show_costs(measured_exhibits(report))
    for limit in report["limits"]:
        speeds = [f"{int(size) >> 10}: {speed / 1e9:.0f}" for size, speed in limit["bytes_per_s"].items()]
        threads = thread_count(limit["threads"])
        print(f"{threads}: {limit['flop_per_s'] / 1e9:.0f} Gflop/s; copying so many KB, GB/s read and written:")
        print(f"    {', '.join(speeds)}")
    print()
    for (title, _, _), rows in sorted(in_exhibits(report).items(), key=lambda item: item[0][:0:-1]):
        for step in (False, True):
            show_table(title, rows, step)
    show_naive(report)
    show_turns(report)
    show_missing(report)


def show_naive(report):
    print(f"Naive loops, one thread, up to {NAIVE_UP_TO} channels: what they measure, how slow they are")
    for row in report["results"]:
        if row["threads"] == 1 and row["times"]["naive"]:
            loops, ours = (row["times"][side] for side in ("naive", "npmnv2"))
            slower = [loops[kind]["median_us"] / ours[kind]["median_us"] for kind in ("standard", "separable")]
            print(
                f"{label(row['shape']):<20}formula {row['formula']:.2f}, measured {gain(row, 'naive'):.2f}; "
                "{:.0f} and {:.0f} times our time".format(*slower)
            )
    print("Loops that leave most of a core idle measure the compiler, not the convolution.\n")
