"""What the results of `peers.py` mean, the aims, and how they are printed."""

import textwrap

from common.report import machine, show_missing, show_turns, thread_count
from peers_contestants import INFERENCE, LITE

HEADS = {"inference": [(1.0, 224, 1), (1.0, 224, 8)], "training": [(1.0, 96, 16), (1.0, 224, 8)]}  # width, size, batch
ENGINES, EAGER = ("onnxruntime", "openvino"), ("torch nchw", "torch nhwc")
BOUND = 2_408_448  # bytes, |x| + |y| of the first block at 224x224 in float32: V2, section 5.1
QUICK = "1x224x224, a training step of 16x96x96; no torch.compile, no memory"


def is_head(case):
    return tuple(case[1:]) in HEADS[case[0]]


def label(case):
    what, width, size, N = case
    return f"{what}, {width}, {N}x{size}x{size}"


def case_of(row):
    return row["what"], row["width"], row["size"], row["batch"]


def in_columns(report, what):
    """The rows of results that are the columns of the first tables."""
    rows = [row for row in report["results"] if row["what"] == what and is_head(case_of(row))]
    return sorted(rows, key=lambda row: (HEADS[what].index(case_of(row)[1:]), row["threads"]))


def over(row, names):
    """Our time over that of the fastest of these; None if none of them is there."""
    theirs = [row["times"][name]["median"] for name in names if name in row["times"]]
    return row["times"]["npmnv2"]["median"] / min(theirs) if theirs else None


def over_limit(row):
    return row["times"]["npmnv2"]["median"] / row["limit_ms"]


def checks(report):
    """(what it is about, our value over theirs or None, the most it should be)."""
    found, others = [], []
    for row in report["results"]:
        where = f"{row['what']}, {row['batch']}x{row['size']}, {thread_count(row['threads'])}"
        if row["what"] == "inference" and is_head(case_of(row)):
            found.append((f"{where}: of the better engine", over(row, ENGINES), 1.0))
            found.append((f"{where}: of PyTorch eager", over(row, EAGER), 0.4))
            found.append((f"{where}: of the limit", over_limit(row), 1.7))
        elif row["what"] == "inference" and row["width"] != LITE and over(row, ENGINES):
            others.append((over(row, ENGINES), f"{row['width']}, {where[11:]}"))
        elif is_head(case_of(row)):
            found.append((f"{where}: of PyTorch eager", over(row, EAGER), 0.5))
            found.append((f"{where}: of torch.compile", over(row, ["torch.compile"]), 0.5))
    if others:
        far = sum(ratio > 1.1 for ratio, _ in others)
        found.append((f"{far} of {len(others)} others above; worst {max(others)[1]}", max(others)[0], 1.1))
    for row in report["memory"]:
        held = row["peak"]
        if row["what"] == "training" and held.get("npmnv2"):
            theirs = [held[name] for name in EAGER if held.get(name)]
            ratio = held["npmnv2"] / min(theirs) if theirs else None
            found.append((f"training, {row['batch']}x{row['size']}: memory, of PyTorch's", ratio, 1.0))
        elif row["batch"] == 1 and row.get("working_bytes"):
            found.append(("engine's buffers, of |x| + |y|", row["working_bytes"] / BOUND, 1.25))
    return found


def show_checks(found):
    print("aims: npmnv2 over what is named, and the most it should be")
    for text, value, most in found:
        verdict = "no peer" if value is None else "met" if value <= most else "not met"
        print(f"{verdict:<8}{'-' if value is None else f'{value:.2f}':>6} <= {most:<5}{text}"[:80])


def show_columns(title, rows):
    """A column for each row of results, a line for each contestant."""
    print(f"{title}: ms +- half the interquartile range")
    heads = [f"{row['batch']}x{row['size']}, {row['threads']} thr" for row in rows]
    print(f"{'':<15}" + "".join(f"{head:>16}" for head in heads))
    for name in INFERENCE:
        cells = [row["times"].get(name) for row in rows]
        if any(cells):
            print(f"{name:<15}" + "".join(f"{cell_of(cell):>16}" for cell in cells))
    print(f"{'limit':<15}" + "".join(f"{row['limit_ms']:>9.2f}       " for row in rows).rstrip())
    for what, names in (("engine", ENGINES), ("eager", EAGER), ("compile", ["torch.compile"]), ("limit", None)):
        ratios = [over(row, names) if names else over_limit(row) for row in rows]
        if any(ratios):
            print(f"{'ours / ' + what:<15}" + "".join(f"{number(ratio):>9}       " for ratio in ratios).rstrip())
    print()


def cell_of(cell):
    return f"{cell['median']:.2f} +-{cell['spread']:>4.2f}" if cell else "-"


def number(ratio):
    return "-" if ratio is None else f"{ratio:.2f}"


def show_grid(title, rows):
    """A line for each case, a group of columns for each number of threads."""
    some_threads = sorted({row["threads"] for row in rows})
    print(f"{title}: ms, and our time over others'")
    print(f"{'':<13}" + "".join(f"{thread_count(n):>32}" for n in some_threads))
    columns = {"ort": ["onnxruntime"], "ov": ["openvino"], "pt": EAGER}
    print("width size  N" + (f"{'ms':>8}" + "".join(f"{c:>6}" for c in (*columns, "lim"))) * len(some_threads))
    for case in dict.fromkeys(map(case_of, rows)):
        line = f"{case[1]:<5}{case[2]:>5}{case[3]:>3}"
        for row in sorted((r for r in rows if case_of(r) == case), key=lambda r: r["threads"]):
            line += f"{row['times']['npmnv2']['median']:>8.2f}"
            line += "".join(f"{number(over(row, names)):>6}" for names in columns.values())
            line += f"{over_limit(row):>6.2f}"
        print(line)
    print()


def show(report):
    print(f"{machine(report['environment'])}\nfloat32")
    for limit in report["limits"]:
        print(f"{thread_count(limit['threads'])}: {limit['flop_per_s'] / 1e9:.0f} Gflop/s, the limit")
    print()
    for name, settings in report["settings"].items():
        print(f"{name:<14} {wrapped(settings, 15)}")
    print()
    for what in ("inference", "training"):
        heads = in_columns(report, what)
        rows = [row for row in report["results"] if row["what"] == what]
        if heads:
            show_columns(f"MobileNetV2 1.0, {what}", heads)
        if len(rows) > len(heads):
            show_grid(f"MobileNetV2, {what}", rows)
    if report["memory"]:
        show_memory(report["memory"])
    show_missing(report)
    if not set(INFERENCE[1:]) - set(report["missing"]):
        print("no peer is installed: compared with NumPy's results and the limit alone")
    show_turns(report)
    show_checks(checks(report))
    print(f"{report['seconds']} s")
    if report["quick"]:
        print(f"quick: {QUICK}")


def wrapped(text, indent):
    return textwrap.fill(text, 80, initial_indent=" " * indent, subsequent_indent=" " * indent).lstrip()


def show_memory(rows):
    print("memory, MB, one thread: peak, and the part of it that is work")
    heads = [f"{row['what']} {row['batch']}x{row['size']}" for row in rows]
    print(f"{'':<15}" + "".join(f"{head:>16}" for head in heads))
    for name in INFERENCE:
        if any(name in row["peak"] for row in rows):
            cells = [(row["peak"].get(name), row["work"].get(name)) for row in rows]
            print(f"{name:<15}" + "".join(f"{_mb(*cell):>16}" for cell in cells))
    for row in rows:
        if row["working_bytes"]:
            print(f"buffers of the engine, counted, {row['batch']}x{row['size']}: {row['working_bytes']:,} bytes")
    print()


def _mb(peak, work):
    return "-" if peak is None else f"{peak / 1e6:.1f} {work / 1e6:>7.1f}"


def title_of(name):
    return "torchvision" if name == "torch nchw" else name


def show_cold(report):
    print(machine(report["environment"]))
    print("MobileNetV2 1.0, one image of 224x224, seconds")
    print(f"{'':<34}{'median':>10}{'least':>10}{'CPU':>10}")
    compiled = report["compile"]
    print(f"{'npmnv2, nothing compiled':<34}{compiled['seconds']:>10.2f}{'':>10}{compiled['cpu']:>10.2f}")
    ahead = report["side by side"]
    print(f"{'python -m npmnv2 compile':<34}{ahead['seconds']:>10.2f}{'':>10}{ahead['cpu']:>10.2f}")
    for name, found in report["first"].items():
        title = f"{title_of(name)}, start to first logits"
        print(f"{title:<34}" + "".join(f"{found[key]:>10.2f}" for key in ("median", "least", "cpu")))
    print("\nnothing compiled: the engine's kernels and a training step's, one by one.")
    print("`compile` does these and more, a process on each core. The others find them on")
    print("disk. Seconds of the first line by kernel:")
    slowest = sorted(compiled["kernels"].items(), key=lambda item: -item[1])
    for start in range(0, len(slowest), 4):
        print("".join(f"{name:>14}{seconds:>6.1f}" for name, seconds in slowest[start : start + 4]))
    print()
    show_missing(report)
    show_checks(report["checks"])
