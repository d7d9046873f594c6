"""The figures of README.md: run the exhibits, keep what they measured in results/, and write its tables anew.

    python benchmarks/results.py          about half an hour: run everything, then write the tables
    python benchmarks/results.py --only fusion      or any other exhibit, and write the tables
    python benchmarks/results.py --only tables

README.md holds its tables between marks, ``<!-- name -->`` and ``<!-- end -->``; a test compares them with results/.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

from common.report import machine as machine_line
from common.report import thread_count
from peers_report import EAGER, ENGINES, in_columns, number, over, over_limit
from separable_report import in_exhibits, label, most
from training_profile import heading, parts_of

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
EXHIBITS = ("depthwise", "separable", "fusion", "width_resolution", "peers", "scaling", "training_profile")


def load(name):
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def machine():
    info = load("separable")["environment"]
    caches = ", ".join(f"{size} {level}" for level, size in info["caches"].items())
    packages = ("python", "numpy", "numba", "scipy", "onnxruntime", "torch")
    versions = ", ".join(f"{package} {info[package]}" for package in packages if package in info)
    blas = f"BLAS: {info['blas']} with its kernels for {info['blas kernel']}"
    yield f"{machine_line(info)}; caches: {caches}; {blas}; {versions}."


def depthwise():
    yield "| shape | forward, us | onnxruntime | torch | copy | dx + dw, us | torch | copy |"
    yield "|---|---|---|---|---|---|---|---|"
    rows = [r for r in load("depthwise")["results"] if (r["batch"], r["threads"]) == (1, 1)]
    for forward, backward in ((r, b) for r in rows for b in rows if r["shape"] == b["shape"]):
        if (forward["direction"], backward["direction"]) == ("forward", "backward"):
            cells = [forward["shape"]]
            for row, peers in ((forward, ("onnxruntime", "torch")), (backward, ("torch",))):
                ours = row["times"]["kernels"]["median_us"]
                cells.append(f"{ours:.0f}")
                for peer in peers:
                    theirs = [t["median_us"] for name, t in row["times"].items() if name.startswith(peer)]
                    cells.append(f"{min(theirs) / ours:.2f}" if theirs else "-")
                cells.append(f"{row['copy']['median_us'] / ours:.0%}")
            yield f"| {' | '.join(cells)} |"


def separable():
    yield "| shape | standard, ms | separable, ms | formula | measured | realised | most | set by | ours / ort's |"
    yield "|---|---|---|---|---|---|---|---|---|"
    rows = in_exhibits(load("separable"))["MobileNetV2", 1, 1]
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


def fusion():
    yield "| x, wide, out | steps | rows | channels | t | gain | KB: steps | rows | channels |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in load("fusion")["results"]:
        if row["threads"] == 1:
            ms, kb, ways = row["ms"], row["kb"], ("steps", "rows", "channels")
            cells = [f"{ms[way]:.3f}{' *' * (way == row['chosen'])}" if way in ms else "-" for way in ways]
            rooms = [f"{kb[way]:,.0f}" if way in kb else "-" for way in ways]
            gain = f"{ms['steps'] / ms[row['chosen']]:.2f}"
            yield f"| {' | '.join([row['shape'], *cells, str(row['t'].get('channels', '-')), gain, *rooms])} |"


def networks():
    yield "| network | kind of layer | multiply-adds | time |"
    yield "|---|---|---|---|"
    rows = load("separable")["layers"]
    for network, name in (("mobilenet_v1", "V1"), ("mobilenet_v2", "V2")):
        mine = [row for row in rows if row["network"] == network]
        for kind in dict.fromkeys(row["kind"] for row in mine):
            madds, us = (
                sum(row[what] for row in mine if row["kind"] == kind) / sum(row[what] for row in mine)
                for what in ("madds", "median_us")
            )
            yield f"| {name} | {kind} | {madds:.1%} | {us:.1%} |"


def width():
    yield "| network | threads | exponent | R2 of the curve | farthest from it |"
    yield "|---|---|---|---|---|"
    for name, fits in load("width_resolution")["fits"].items():
        network, threads = name.split(", ")
        curve = fits["curve"]
        point, off = max(curve["residuals"].items(), key=lambda item: abs(item[1]))
        yield f"| {network} | {threads} | {curve['b']:.2f} | {curve['R2']:.3f} | {point}: {off:+.0%} |"


def inference():
    yield from _columns("inference")


def training():
    yield from _columns("training")


def _columns(what):
    """A line for each contestant, in milliseconds, and our time over others'."""
    rows = in_columns(load("peers"), what)
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


def grid():
    """Our time over the better engine's."""
    rows = [row for row in load("peers")["results"] if row["what"] == "inference"]
    columns = sorted({(row["batch"], row["threads"]) for row in rows})
    heads = [f"batch {N}, {thread_count(n)}" for N, n in columns]
    yield f"| width | pixels | {' | '.join(heads)} |"
    yield "|---" * (2 + len(columns)) + "|"
    for width, size in sorted({(row["width"], row["size"]) for row in rows}, key=lambda pair: (str(pair[0]), pair[1])):
        mine = {(r["batch"], r["threads"]): over(r, ENGINES) for r in rows if (r["width"], r["size"]) == (width, size)}
        yield f"| {width} | {size} | {' | '.join(number(mine.get(column)) for column in columns)} |"


def memory():
    rows = load("peers")["memory"]
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


def cold():
    report = load("peers_cold")
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


def step():
    rows = load("training_profile")["results"]
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


def growth():
    report = load("scaling")
    names = [name for name in ("npmnv2", report["peer"]) if name]
    yield f"| what grows | from | to | {' | '.join(f'{n}: b | R2' for n in names)} | multiply-adds: b |"
    yield "|---" * (4 + 2 * len(names)) + "|"
    for sweep, fits in report["fits"].items():
        values = [row["value"] for row in report["sweeps"][sweep]]
        if fits:
            cells = " | ".join(f"{fits[n]['b']:.2f} | {fits[n]['R2']:.3f}" for n in names)
            formula = "-" if sweep.startswith("threads") else f"{fits['MAdds']['b']:.2f}"
            yield f"| {sweep} | {values[0]} | {values[-1]} | {cells} | {formula} |"


TABLES = {
    f.__name__: f
    for f in (
        *(machine, inference, training, grid, memory, cold, step, growth),
        *(depthwise, separable, fusion, networks, width),
    )
}


def with_tables(text):
    """README.md with the lines between its marks made anew."""

    def table(match):
        lines = "\n".join(TABLES[match[1]]())
        return f"<!-- {match[1]} -->\n{lines}\n<!-- end -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- end -->", table, text, flags=re.S)


def main():
    parser = argparse.ArgumentParser(description="Measure everything that README.md tells, and write its tables.")
    choices = [*EXHIBITS, "cold", "tables"]
    parser.add_argument("--only", choices=choices, help="measure one exhibit again; `tables`: none")
    only = parser.parse_args().only
    RESULTS.mkdir(exist_ok=True)
    for name in EXHIBITS:
        if only in (None, name):
            to = ["--json", str(RESULTS / f"{name}.json"), "--plot", str(RESULTS / f"{name}.png")]
            subprocess.run([sys.executable, str(HERE / f"{name}.py"), *to], check=True)
    if only in (None, "cold"):
        to = ["--cold", "--json", str(RESULTS / "peers_cold.json")]
        subprocess.run([sys.executable, str(HERE / "peers.py"), *to], check=True)
    readme = HERE / "README.md"
    readme.write_text(with_tables(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
