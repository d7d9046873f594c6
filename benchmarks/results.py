"""The tables of README.md and its pictures, from the files in results/, each with the machine that it is from.

    python benchmarks/results.py                        print every table
    python benchmarks/results.py --write                write them into README.md, and draw the pictures
    python benchmarks/results.py --measure all          half an hour: run every exhibit first, and keep what it measured
    python benchmarks/results.py --measure fusion       or any other
    python benchmarks/results.py --measure all --core avx2      the same as if without AVX-512

A file is named for its exhibit and, but for AVX-512, its kind of core: peers.json, peers-avx2.json. An exhibit may be
spread over several, as peers-inference.json and peers-training.json from `peers.py --only`: they share tables, so they
must come from one machine. README.md holds its tables between marks, ``<!-- name -->`` and ``<!-- end -->``; a test
compares them with results/.
"""

import argparse
import importlib
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from common.machine import STAND_IN, differences, kind
from common.report import blas_of, caption, core_of, date_of, disturbed, processor, stands_in, thread_count
from depthwise_report import EVERY_PEER, copying, of_one_image, ours
from depthwise_report import over as over_kernel
from peers_report import EAGER, ENGINES, in_columns, number, over, over_limit
from separable_report import in_exhibits, label, most
from training_profile_report import heading, parts_of

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PICTURES = {  # exhibit -> the module that draws it; of start-up there is no picture
    "depthwise": "depthwise_plot",
    "separable": "separable_plot",
    "fusion": "fusion",
    "width_resolution": "width_resolution_plot",
    "peers": "peers_plot",
    "scaling": "scaling",
    "training_profile": "training_profile_report",
}
EXHIBITS = (*PICTURES, "peers_cold")
CORES = ("AVX-512", "AVX2")  # of each of these the page has a table, or says that there is none
ALIKE = ("memory",)  # tables that do not differ by kind of core


# The files.


def read(folder=RESULTS):
    """Exhibit -> kind of core -> report, of all files there are."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        core = core_of(report["environment"])
        found.setdefault(path.stem.partition("-")[0], {}).setdefault(core, {})[path.name] = report
    return {exhibit: {core: together(files) for core, files in kinds.items()} for exhibit, kinds in found.items()}


def together(files):
    """One report from the files that share tables; an error if they are from different machines."""
    (first, report), *others = files.items()
    for name, other in others:
        apart = differences(report["environment"], other["environment"])
        if apart:
            raise SystemExit(f"error: {first} and {name} must not share a table; they differ in {'; '.join(apart)}")
        days = sorted({date_of(report["environment"]), date_of(other["environment"])})
        more = {key: value + other[key] for key, value in report.items() if isinstance(value, list)}
        if "turns" in report:
            more["turns"] = {key: value + other["turns"][key] for key, value in report["turns"].items()}
        report = report | more | {"environment": report["environment"] | {"date": " and ".join(days)}}
    return report


# The tables: each from the report of its exhibit.


def depthwise(report):
    yield "| shape | forward, us | onnxruntime | torch | copy | dx + dw, us | torch | copy |"
    yield "|---|---|---|---|---|---|---|---|"
    pairs = zip(of_one_image(report, "forward"), of_one_image(report, "backward"), strict=True)
    for forward, backward in pairs:
        cells = [forward["shape"]]
        for row, peers in ((forward, ("onnxruntime", "torch")), (backward, ("torch",))):
            cells.append(f"{ours(row):.0f}")
            cells += [number(over_kernel(row, EVERY_PEER[peer])) for peer in peers]
            cells.append(f"{copying(row):.0%}")
        yield f"| {' | '.join(cells)} |"


def separable(report):
    yield "| shape | standard, ms | separable, ms | formula | measured | realised | most | set by | ours / ort's |"
    yield "|---|---|---|---|---|---|---|---|---|"
    rows = in_exhibits(report)["MobileNetV2", 1, 1]
    for row in rows:
        ours = row["times"]["npmnv2"]
        standard, separable = (ours[kind]["median_us"] for kind in ("standard", "separable"))
        limit, why = most(row)
        theirs = row["times"]["onnxruntime"].get("standard")
        ratio = f"{standard / theirs['median_us']:.2f}" if theirs else "-"
        yield (
            f"| {label(row['shape'])} | {standard / 1e3:.2f} | {separable / 1e3:.3f} | {row['formula']:.2f} "
            f"| {standard / separable:.2f} | {standard / separable / row['formula']:.2f} | {limit:.2f} | {why} "
            f"| {ratio} |"
        )


def fusion(report):
    yield "| x, wide, out | steps | rows | channels | t | gain | KB: steps | rows | channels |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in report["results"]:
        if row["threads"] == 1:
            ms, kb, ways = row["ms"], row["kb"], ("steps", "rows", "channels")
            cells = [f"{ms[way]:.3f}{' *' * (way == row['chosen'])}" if way in ms else "-" for way in ways]
            rooms = [f"{kb[way]:,.0f}" if way in kb else "-" for way in ways]
            gain = f"{ms['steps'] / ms[row['chosen']]:.2f}"
            yield f"| {' | '.join([row['shape'], *cells, str(row['t'].get('channels', '-')), gain, *rooms])} |"


def networks(report):
    yield "| network | kind of layer | multiply-adds | time |"
    yield "|---|---|---|---|"
    rows = report["layers"]
    for network, name in (("mobilenet_v1", "V1"), ("mobilenet_v2", "V2")):
        mine = [row for row in rows if row["network"] == network]
        for layer in dict.fromkeys(row["kind"] for row in mine):
            madds, us = (
                sum(row[what] for row in mine if row["kind"] == layer) / sum(row[what] for row in mine)
                for what in ("madds", "median_us")
            )
            yield f"| {name} | {layer} | {madds:.1%} | {us:.1%} |"


def width(report):
    yield "| network | threads | exponent | R2 of the curve | farthest from it |"
    yield "|---|---|---|---|---|"
    for name, fits in report["fits"].items():
        network, threads = name.split(", ")
        curve = fits["curve"]
        point, off = max(curve["residuals"].items(), key=lambda item: abs(item[1]))
        yield f"| {network} | {threads} | {curve['b']:.2f} | {curve['R2']:.3f} | {point}: {off:+.0%} |"


def inference(report):
    yield from _columns(report, "inference")


def training(report):
    yield from _columns(report, "training")


def _columns(report, what):
    """A line for each contestant, in milliseconds, and our time over others'."""
    rows = in_columns(report, what)
    if not rows:
        yield "Not measured."
        return
    heads = [f"{r['batch']}x{r['size']}x{r['size']}, {thread_count(r['threads'])}" for r in rows]
    yield f"| milliseconds | {' | '.join(heads)} |"
    yield "|---" * (1 + len(rows)) + "|"
    for name in dict.fromkeys(name for row in rows for name in row["times"]):
        cells = [f"{row['times'][name]['median']:.2f}" if name in row["times"] else "-" for row in rows]
        yield f"| {name} | {' | '.join(cells)} |"
    limits = [f"{row['limit_ms']:.2f}" for row in rows]
    yield f"| limit | {' | '.join(limits)} |"
    engines, compiled = ("the better of onnxruntime and OpenVINO", ENGINES), ("torch.compile", ["torch.compile"])
    for title, names in (engines if what == "inference" else compiled, ("PyTorch eager, its better layout", EAGER)):
        yield f"| **ours over {title}** | {' | '.join(number(over(row, names)) for row in rows)} |"
    yield f"| **ours over the limit** | {' | '.join(number(over_limit(row)) for row in rows)} |"


def grid(report):
    """Our time over the better engine's."""
    rows = [row for row in report["results"] if row["what"] == "inference"]
    columns = sorted({(row["batch"], row["threads"]) for row in rows})
    heads = [f"batch {N}, {thread_count(n)}" for N, n in columns]
    yield f"| width | pixels | {' | '.join(heads)} |"
    yield "|---" * (2 + len(columns)) + "|"
    for width, size in sorted({(row["width"], row["size"]) for row in rows}, key=lambda pair: (str(pair[0]), pair[1])):
        mine = {(r["batch"], r["threads"]): over(r, ENGINES) for r in rows if (r["width"], r["size"]) == (width, size)}
        yield f"| {width} | {size} | {' | '.join(number(mine.get(column)) for column in columns)} |"


def memory(report):
    rows = report["memory"]
    if not rows:
        yield "A quick run measures no memory."
        return
    heads = [f"{row['what']} {row['batch']}x{row['size']}x{row['size']}" for row in rows]
    yield f"| MB | {' | '.join(heads)} |"
    yield "|---" * (1 + len(rows)) + "|"
    for name in dict.fromkeys(name for row in rows for name in row["peak"]):
        cells = [f"{row['peak'][name] / 1e6:.1f}" if row["peak"].get(name) else "-" for row in rows]
        yield f"| {name} | {' | '.join(cells)} |"
    counted = [f"{r['working_bytes'] / 1e6:.2f}" if r["working_bytes"] else "-" for r in rows]
    yield f"| buffers of the engine, counted | {' | '.join(counted)} |"


def cold(report):
    yield "| seconds from the start of a process | median | least | CPU |"
    yield "|---|---|---|---|"
    titles = {
        "compile": "npmnv2, nothing compiled: logits and a training step",
        "side by side": "`python -m npmnv2 compile`: these and more, a process on each core",
    }
    for key, title in titles.items():
        seconds, cpu = (f"{report[key][what]:.2f}" for what in ("seconds", "cpu"))
        yield f"| {title} | {seconds} | - | {cpu} |"
    for name, found in report["first"].items():
        cells = " | ".join(f"{found[key]:.2f}" for key in ("median", "least", "cpu"))
        yield f"| {name.replace('torch nchw', 'torchvision')}, first logits | {cells} |"


def step(report):
    rows = report["results"]
    yield "| ms, and times over the arithmetic | " + " | ".join(map(heading, rows)) + " |"
    yield "|---" * (1 + len(rows)) + "|"
    for part in parts_of(rows[0]):
        found = [(row["ms"][part], row["limit_ms"].get(part)) for row in rows]
        yield (
            f"| {part} | "
            + " | ".join(f"{ms:.2f}" + (f", {ms / limit:.1f}" if limit else "") for ms, limit in found)
            + " |"
        )
    whole = [(sum(row["ms"].values()), sum(row["limit_ms"].values())) for row in rows]
    yield "| the step | " + " | ".join(f"{ms:.2f}, {ms / limit:.1f}" for ms, limit in whole) + " |"


def growth(report):
    names = [name for name in ("npmnv2", report["peer"]) if name]
    yield f"| what grows | from | to | {' | '.join(f'{n}: b | R2' for n in names)} | multiply-adds: b |"
    yield "|---" * (4 + 2 * len(names)) + "|"
    for sweep, fits in report["fits"].items():
        values = [row["value"] for row in report["sweeps"][sweep]]
        if fits:
            cells = " | ".join(f"{fits[n]['b']:.2f} | {fits[n]['R2']:.3f}" for n in names)
            formula = "-" if sweep.startswith("threads") else f"{fits['MAdds']['b']:.2f}"
            yield f"| {sweep} | {values[0]} | {values[-1]} | {cells} | {formula} |"


TABLES = {  # name -> (exhibit, the function)
    name: (exhibit, globals()[name])
    for exhibit, names in {
        "peers": ("inference", "training", "grid", "memory"),
        "peers_cold": ("cold",),
        "training_profile": ("step",),
        "scaling": ("growth",),
        "separable": ("separable", "networks"),
        "depthwise": ("depthwise",),
        "fusion": ("fusion",),
        "width_resolution": ("width",),
    }.items()
    for name in names
}


def table(name, reports):
    """The lines of a table, of each kind of core one, each under the machine that it is from."""
    if name == "machines":
        yield from machines(reports)
        return
    exhibit, lines = TABLES[name]
    kinds = reports.get(exhibit, {})
    for core in dict.fromkeys([*CORES, *kinds]):
        if core in kinds:
            report = kinds[core]
            yield from textwrap.wrap(caption(report["environment"], report.get("turns")), 118)
            yield ""
            yield from lines(report)
        elif name not in ALIKE:
            yield f"{core}: not measured yet."
        else:
            continue
        yield ""


def machines(reports):
    """What every file was measured on."""
    yield "| exhibit | core | CPU | BLAS | large products, a core | date | packages | disturbed |"
    yield "|---|---|---|---|---|---|---|---|"
    for exhibit, kinds in reports.items():
        for core, report in kinds.items():
            info = report["environment"]
            packages = ("python", "numpy", "numba", "scipy", "onnxruntime", "openvino", "torch")
            versions = ", ".join(f"{package} {info[package]}" for package in packages if package in info)
            kept = "; ".join(disturbed(report.get("turns"))) or ("no turn" if "turns" in report else "not watched")
            speeds = [limit["flop_per_s"] for limit in report.get("limits", []) if limit["threads"] == 1]
            speed = f"{speeds[0] / 1e9:.0f} Gflop/s" if speeds else "-"
            cells = ["; ".join([core, *stands_in(info)]), processor(info, caches=True), blas_of(info), speed]
            yield f"| {' | '.join([exhibit, *cells, date_of(info), versions, kept])} |"


def with_tables(text, reports):
    """README.md with the lines between its marks made anew."""

    def between(match):
        lines = "\n".join(table(match[1], reports)).rstrip("\n")
        return f"<!-- {match[1]} -->\n{lines}\n<!-- end -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- end -->", between, text, flags=re.S)


# The commands.


def measure(exhibit, core):
    """Run an exhibit and keep what it measured."""
    there = "AVX2" if core else kind()
    end = "" if there == "AVX-512" else f"-{there.lower()}"
    script, more = ("peers", ["--cold"]) if exhibit == "peers_cold" else (exhibit, [])
    to = [*more, "--json", str(RESULTS / f"{exhibit}{end}.json"), *(["--core", core] if core else [])]
    subprocess.run([sys.executable, str(HERE / f"{script}.py"), *to], check=True)


def write(reports):
    """Put the tables into README.md and draw the pictures, those of the first kind of core under the exhibit's name."""
    readme = HERE / "README.md"
    readme.write_text(with_tables(readme.read_text(encoding="utf-8"), reports), encoding="utf-8")
    for exhibit, module in PICTURES.items():
        for core, report in reports.get(exhibit, {}).items():
            end = "" if core == "AVX-512" else f"-{core.lower()}"
            importlib.import_module(module).draw(report, RESULTS / f"{exhibit}{end}.png")


def main():
    parser = argparse.ArgumentParser(description="The tables of README.md, from what is measured in results/.")
    parser.add_argument("--measure", choices=["all", *EXHIBITS], help="run an exhibit, or all, and keep its figures")
    parser.add_argument("--core", choices=[*STAND_IN], help="with --measure: stand in for a core without AVX-512")
    parser.add_argument("--write", action="store_true", help="write the tables into README.md and draw the pictures")
    args = parser.parse_args()
    if args.core and not args.measure:
        parser.error("--core goes with --measure")
    RESULTS.mkdir(exist_ok=True)
    for exhibit in EXHIBITS:
        if args.measure in ("all", exhibit):
            measure(exhibit, args.core)
    reports = read()
    if args.write:
        write(reports)
    else:
        print("\n".join(f"# {name}\n\n" + "\n".join(table(name, reports)) for name in ["machines", *TABLES]))


if __name__ == "__main__":
    main()
