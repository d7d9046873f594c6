"""What the reports share: how they name a machine, a disturbed run and a number of threads, and what pictures share."""

import textwrap

from common.measure import WRONG

# Okabe and Ito's colours, which the colour-blind tell apart too.
VERMILION, BLUE, GREEN, ORANGE = "#d55e00", "#0072b2", "#009e73", "#e69f00"
SLIDE = {"figsize": (13.33, 7.5), "layout": "constrained"}  # inches: a slide, on which no text is below 16 points
SMALLEST = 16


# The machine.


def processor(info, caches=False):
    """The machine's name, from `machine.environment`, its cores, and its caches, which tell two of one name apart."""
    sizes = {level: size for level, size in info.get("caches", {}).items() if "Instruction" not in level}
    told = [info["cpu model"]] if info.get("cpu model") else []
    if caches:
        told += [f"{level.replace(' Unified', '').replace(' Data', 'd')} {size}" for level, size in sizes.items()]
    return f"{info.get('cpu', info['system'])}, {info['cores']} cores" + (f" ({', '.join(told)})" if told else "")


def core_of(info):
    """The kind of core. Runs that do not tell had kernels of OpenBLAS that need AVX-512, or no core is named."""
    return info.get("core") or ("AVX-512" if "SkylakeX" in info.get("blas kernel", "") else "core unknown")


def blas_of(info):
    """Which BLAS, and which of its kernels."""
    name = "OpenBLAS" if "openblas" in str(info.get("blas", "openblas")) else info["blas"]
    return f"{name} {info.get('blas kernel', 'unknown')}"


def date_of(info):
    """The day of the run; of one that does not tell, the day it was committed, said so."""
    return info.get("date") or f"committed {info.get('committed', 'on an unknown day')}"


def stands_in(info):
    """A list with the line that says that the core is not of this kind, and who does not know; empty if it is."""
    unknowing = "; onnxruntime runs AVX-512" if "onnxruntime" in info else ""
    return [f"a machine with AVX-512 stands in{unknowing}"] if info.get("stands in") else []


def machine(info):
    """The machine in two lines, or three."""
    lines = [processor(info), f"{core_of(info)}; {blas_of(info)}; {date_of(info)}"]
    return "\n".join(lines + stands_in(info))


def where(info):
    """The machine in a line, for a picture."""
    return "; ".join([f"{processor(info)}, {core_of(info)}, {blas_of(info)}, {date_of(info)}", *stands_in(info)])


def caption(info, turns=None):
    """The machine in a line, for a table: CPU, caches, kind of core, BLAS and date, and what disturbed the run."""
    parts = [processor(info, caches=True), blas_of(info), date_of(info), *stands_in(info), *disturbed(turns)]
    return f"{core_of(info)}: {'; '.join(parts)}."


def thread_count(n):
    """In words: 1 thread, 2 threads."""
    return f"{n} thread{'s'[: n > 1]}"


# What went wrong.


def disturbed(turns):
    """A list with the line that says how many turns were kept although others used the machine; empty if none was."""
    taken, kept = (turns or {"taken": 0, "kept": 0}).values()
    return [f"{kept:,} of {taken:,} turns had other programs beside them"] if kept else []


def show_turns(report):
    """Print that line."""
    for line in disturbed(report["turns"]):
        print(line)


def show_missing(report):
    """Who was left out, and why."""
    for name, reason in report["missing"].items():
        print(f"left out: {name} ({reason})" + ("" if reason == WRONG else "; pip install npmnv2[peers]"))


# Pictures.


def slide(title):
    """A figure with one panel, of the size of a slide, its message above."""
    from matplotlib.figure import Figure

    figure = Figure(**SLIDE)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    figure.suptitle(textwrap.fill(title, 78), fontsize=22, x=0.01, ha="left")
    axes = figure.subplots()
    axes.tick_params(labelsize=SMALLEST)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def sign(figure, report, note):
    """Write under a figure what was run, on which machine and when; above it, in a frame, that it was disturbed."""
    lines = [note, *textwrap.wrap(where(report["environment"]), 110)]
    figure.supxlabel("\n".join(lines), fontsize=SMALLEST, color="0.25", x=0.01, ha="left")
    for line in disturbed(report.get("turns")):
        frame = {"facecolor": "white", "edgecolor": VERMILION, "linewidth": 3, "pad": 7}
        figure.axes[0].set_title(f"Disturbed run: {line}", fontsize=18, loc="left", pad=18, bbox=frame)


def plain_ticks(axis):
    """1, 2, 5, 10, ... instead of powers of ten."""
    from matplotlib import ticker

    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axis.set_minor_formatter(ticker.NullFormatter())
