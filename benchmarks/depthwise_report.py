"""What the results of `depthwise.py` mean, and how they are printed."""

from common.report import machine, show_missing, show_turns, thread_count

CONTESTANTS = ["loops", "numpy", "kernels", "onnxruntime", "torch nchw", "torch nhwc"]
EVERY_PEER = {"onnxruntime": ["onnxruntime"], "torch": ["torch nchw", "torch nhwc"]}


def ours(row):
    """The median time of our kernel, in microseconds."""
    return row["times"]["kernels"]["median_us"]


def over(row, names):
    """The time of the fastest of these contestants over ours; None if none of them is there."""
    theirs = [row["times"][name]["median_us"] for name in names if name in row["times"]]
    return min(theirs) / ours(row) if theirs else None


def copying(row):
    """The time of copying as many bytes as must move, over ours: a bound, below which nobody can be."""
    return row["copy"]["median_us"] / ours(row)


def of_one_image(report, direction):
    """The rows of one direction, one image, one thread, in the order in which they were measured."""
    wanted = (direction, 1, 1)
    return [row for row in report["results"] if (row["direction"], row["batch"], row["threads"]) == wanted]


def title_of(way, threads, N):
    return f"{'forward' if way == 'forward' else 'dx + dw'}, batch {N}, {thread_count(threads)}"


def show(report):
    print(machine(report["environment"]))
    print("float32, 3x3, padding 1; us: time of `kernels`")
    print("columns x: that contestant's time over ours, above 1 means ours is faster\n")
    names = [name for name in CONTESTANTS if name != "kernels" and name not in report["missing"]]
    short = {name: f"{name} x" for name in names} | {
        "onnxruntime": "ort x",
        "torch nchw": "tchw x",
        "torch nhwc": "thwc x",
    }
    groups = {}
    for row in report["results"]:
        groups.setdefault((row["threads"], row["batch"], row["direction"]), []).append(row)
    for (threads, N, way), rows in groups.items():
        print(title_of(way, threads, N))
        print(f"{'shape':<13}{'us':>8}{'+-':>6}{'copy':>7}" + "".join(f"{short[name]:>9}" for name in names))
        for row in rows:
            line = f"{row['shape']:<13}{ours(row):>8.0f}{row['times']['kernels']['spread_us']:>6.0f}"
            line += f"{copying(row):>7.0%}"
            for name in names:
                ratio = over(row, [name])
                line += f"{'-':>9}" if ratio is None else f"{ratio:>9.2f}"
            print(line)
        print()
    show_turns(report)
    show_missing(report)
