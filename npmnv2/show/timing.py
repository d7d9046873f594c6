"""Where a network's time goes, measured: every layer, and every fused block, beside what the machine allows.

``python -m npmnv2 summary --time``. The whole network runs, again and again, and a clock is read between its layers: so
each finds in cache what the layer before it left there, as it does in earnest. The least of a layer's times counts: in
the others, other programs had a share of the machine.
"""

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from npmnv2 import models
from npmnv2.cost import LayerCost
from npmnv2.cost.layer import FLOAT32
from npmnv2.engine.fused import Engine, fuse
from npmnv2.models.network import Network
from npmnv2.nn.base import Layer
from npmnv2.nn.blocks import ConvBN
from npmnv2.runtime.blas import running_kernels
from npmnv2.show import roofline
from npmnv2.show.roofline import Limit, Roofline
from npmnv2.validate import Array

RUNS = 3  # at least


class Row(NamedTuple):
    """A layer, a block of them or a fused block; its least traffic, and the time that it took."""

    layers: tuple[str, ...]
    seconds: float
    flop: int
    bytes: int
    limit: Limit  # of a block of layers that run one by one, the sum of theirs

    @property
    def name(self) -> str:
        """The blocks it covers; a layer's own name if it is one.

        Examples
        --------
        >>> Row(("stem", "b0.0.dw", "b0.0.project"), 1.0, 0, 0, Limit(1.0, "byte")).name
        'stem + b0.0'
        """
        if len(self.layers) == 1:
            return self.layers[0]
        return " + ".join(dict.fromkeys(name.rpartition(".")[0] or name for name in self.layers))


class Profile(NamedTuple):
    """Everything that was measured. The last row of each list is the whole network."""

    batch: int
    kernels: str  # of BLAS
    disturbed: float | None  # the share of the machine that other programs used meanwhile; None where nobody tells
    machine: Roofline
    plain: list[Row]  # blocks before their layers
    fused: list[Row]


def profile(
    model: str,
    layers: Sequence[LayerCost],
    width: float,
    batch: int = 1,
    seconds: float = 2.0,
    say: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> Profile:
    """Measure a network with random weights, on `get_num_threads` threads, in float32.

    Parameters
    ----------
    model : str
        A key of `cost.NETWORKS`.
    layers : sequence of LayerCost
        What it costs, from `summary.network`; they say the size of the image too.
    width : float
        Width multiplier.
    batch : int
        Images at a time.
    seconds : float
        For each of the three measurements: the machine, the layers, the fused blocks.
    say : callable
        Told what is going on.
    **options
        `strides`, `in_channels`, `depth_mult`: as the layers were built with.

    Returns
    -------
    Profile
    """
    say("measuring the machine")
    before = _used()
    machine = roofline.measure(seconds)
    network = getattr(models, model)(layers[-1].out_shape[2], width, **options).eval()
    x = np.random.default_rng(0).normal(size=(batch, *layers[0].in_shape)).astype(np.float32)  # (N, H, W, C)
    say("measuring layer by layer")
    plain = _plain_rows(time_layers(network, x, seconds), layers, batch, machine)
    say("measuring the fused blocks")
    fused = _fused_rows(time_steps(fuse(network), x, seconds), layers, batch, machine)
    say("")
    return Profile(batch, running_kernels(), _others(before, _used()), machine, plain, fused)


def _used() -> tuple[float, float, float]:
    """Seconds of processor that this process has used, that all have, and that there were; Linux tells the last two."""
    ticks = [0] * 8
    with contextlib.suppress(OSError), open("/proc/stat", encoding="ascii") as file:
        ticks = [int(some) for some in file.readline().split()[1:9]]
    idle, per_second = ticks[3] + ticks[4], os.sysconf("SC_CLK_TCK") if any(ticks) else 1
    return time.process_time(), (sum(ticks) - idle) / per_second, sum(ticks) / per_second


def _others(before: tuple[float, float, float], after: tuple[float, float, float]) -> float | None:
    own, busy, total = (b - a for a, b in zip(before, after, strict=True))
    return max(0.0, busy - own) / total if total > 0 else None


def time_layers(network: Network, x: Array, seconds: float) -> dict[str, float]:
    """The seconds of every block and every layer of a network's forward, by name; the sum of the blocks' by "total".

    A layer is a convolution with its batch norm and ReLU6. A block's time is more than its layers': it adds a shortcut.

    Examples
    --------
    >>> network = models.mobilenet_v2(10, 0.35).eval()
    >>> times = time_layers(network, np.zeros((1, 32, 32, 3), np.float32), 0.01)
    >>> times["total"] >= times["b1.1"] >= times["b1.1.dw"] > 0
    True
    """
    times: dict[str, list[float]] = {}
    network(x)  # compiles
    with _watched(dict(_parts(network)), times):
        _repeat(lambda: network(x), seconds)
    least = {name: min(some) for name, some in times.items()}
    return {**least, "total": sum(least[name] for name in network.children())}


def time_steps(engine: Engine, x: Array, seconds: float) -> dict[tuple[str, ...], float]:
    """The seconds of every step of an engine, by the layers it covers; their sum by ("total",)."""
    times: dict[tuple[str, ...], list[float]] = {}
    engine(x)  # plans, and compiles

    def run() -> None:
        for layers, some in engine.profile(x):
            times.setdefault(layers, []).append(some)

    _repeat(run, seconds)
    least = {layers: min(some) for layers, some in times.items()}
    return {**least, ("total",): sum(least.values())}


def _repeat(call: Callable[[], object], seconds: float) -> None:
    end, runs = time.perf_counter() + seconds, 0
    while runs < RUNS or time.perf_counter() < end:
        call()
        runs += 1


def _parts(network: Network) -> Iterator[tuple[str, Layer]]:
    """The blocks and, in them, convolutions with what belongs to them."""
    for name, block in network.children().items():
        yield name, block
        if not isinstance(block, ConvBN):
            yield from ((f"{name}.{part}", layer) for part, layer in block.children().items())


@contextmanager
def _watched(layers: dict[str, Layer], times: dict[str, list[float]]) -> Iterator[None]:
    """Inside, the forward of each of these layers adds its time to a list, by name."""
    for name, layer in layers.items():
        layer.forward = functools.partial(_timed, layer.forward, times.setdefault(name, []))  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers.values():
            del layer.forward  # the class's own is back


def _timed(call: Callable[[Array], Array], times: list[float], x: Array) -> Array:
    start = time.perf_counter()
    out = call(x)
    times.append(time.perf_counter() - start)
    return out


def _work(layers: Sequence[LayerCost], batch: int) -> dict[str, tuple[int, int, int, int]]:
    """Operations, bytes read, bytes written and bytes of weights by name; the pool's too."""
    work = {}
    for layer in layers:
        sizes = (FLOAT32 * batch * layer.inputs, FLOAT32 * batch * layer.outputs)
        work[layer.name] = (2 * batch * layer.madds, *sizes, layer.weight_bytes)
    last, first = layers[-2], next(layer for layer in layers if layer.kind == "linear")
    work["pool"] = (0, FLOAT32 * batch * last.outputs, FLOAT32 * batch * first.inputs, 0)
    return work


def _plain_rows(times: dict[str, float], layers: Sequence[LayerCost], batch: int, machine: Roofline) -> list[Row]:
    work, rows = _work(layers, batch), []
    for name, seconds in times.items():
        if name in work:
            flop, *sizes = work[name]
            rows.append(Row((name,), seconds, flop, sum(sizes), machine.limit(flop, sum(sizes))))
    leaves, rows = rows, []
    for name, seconds in times.items():
        inside = [row for row in leaves if name in ("total", row.name, row.name.rpartition(".")[0])]
        if inside:  # not dropout, which does nothing here
            rows.append(_together(name, seconds, inside))
    return rows


def _together(name: str, seconds: float, rows: Sequence[Row]) -> Row:
    flop, moved, least = (sum(some) for some in zip(*((r.flop, r.bytes, r.limit.seconds) for r in rows), strict=True))
    return Row((name,), seconds, flop, moved, Limit(least, rows[0].limit.by if len(rows) == 1 else ""))


def _fused_rows(
    times: dict[tuple[str, ...], float], layers: Sequence[LayerCost], batch: int, machine: Roofline
) -> list[Row]:
    """What lies between the layers of a block moves no bytes."""
    work, rows = _work(layers, batch), []
    for names, seconds in times.items():
        if names != ("total",):
            flop = sum(work[name][0] for name in names)
            moved = work[names[0]][1] + work[names[-1]][2] + sum(work[name][3] for name in names)
            rows.append(Row(names, seconds, flop, moved, machine.limit(flop, moved)))
    return [*rows, _together("total", times["total",], rows)]


def text(found: Profile) -> list[str]:
    """Two tables at 80 columns, what the machine was measured at above them, and what the columns mean below."""
    machine, threads = found.machine, found.machine.threads
    copies = ", ".join(f"{_size(size)} {speed / 1e9:.0f}" for size, speed in machine.bytes_per_s.items())
    lines = [
        f"batch {found.batch}, {threads} thread{'s'[: threads > 1]}, BLAS kernels: {found.kernels}; random weights",
        f"products of matrices: {machine.flop_per_s / 1e9:.0f} GFLOP/s",
        f"copies, GB/s both ways: {copies}",
        *_excuse(found.disturbed),
        "",
        "Layer by layer, as model.eval() runs them:",
        *_table(found.plain),
        "",
    ]
    return [
        *lines,
        "Blocks fused, as npmnv2.fuse(model) runs them:",
        *_table(found.fused),
        "",
        f"fused: {found.plain[-1].seconds / found.fused[-1].seconds:.1f} times as fast",
        "ms: the least of all runs; a layer has its batch norm and ReLU6 in it, a block",
        "  its shortcut; total: the sum",
        "GFLOP/s: two operations a multiply-add; GB/s: input, weights and output once",
        "limit: the time of as many operations in products of matrices (flop), or of",
        "  copying as many bytes (byte), whichever is longer; reached: limit / ms",
    ]


def _excuse(disturbed: float | None) -> list[str]:
    if disturbed is None or disturbed < 0.1:
        return []
    return [
        f"Other programs used {100 * disturbed:.0f} % of the machine meanwhile. Threads that wait for each",
        "other lose most by that: measure again when it is idle, or with --threads 1.",
    ]


def _table(rows: Sequence[Row]) -> list[str]:
    whole = rows[-1].seconds
    cells = [["layer", "ms", "share", "GFLOP/s", "GB/s", "limit", "", "reached"]]
    blocks = {row.name for row in rows}
    for row in rows:
        block, _, part = row.name.rpartition(".")
        cells.append([
            f"  {part}" if block in blocks else row.name,
            f"{1e3 * row.seconds:.3f}", f"{100 * row.seconds / whole:.1f} %",
            f"{row.flop / row.seconds / 1e9:.1f}", f"{row.bytes / row.seconds / 1e9:.1f}",
            f"{1e3 * row.limit.seconds:.3f}", row.limit.by, f"{100 * row.limit.seconds / row.seconds:.0f} %",
        ])  # fmt: skip
    widths = [max(len(line[k]) for line in cells) for k in range(8)]
    aligned = [
        [cell.ljust(n) if k in (0, 6) else cell.rjust(n) for k, (cell, n) in enumerate(zip(line, widths, strict=True))]
        for line in cells
    ]
    return ["  ".join(line).rstrip() for line in aligned]


def _size(size: int) -> str:
    return f"{size >> 10} KB" if size < 1 << 20 else f"{size >> 20} MB"


def document(found: Profile) -> dict[str, Any]:
    """The same for a program; times in seconds."""
    machine = found.machine
    return {
        "batch": found.batch,
        "threads": machine.threads,
        "blas_kernels": found.kernels,
        "disturbed": found.disturbed,
        "machine": {
            "flop_per_s": machine.flop_per_s,
            "copies": [{"bytes": size, "bytes_per_s": speed} for size, speed in machine.bytes_per_s.items()],
        },
        "plain": [_entry(row) for row in found.plain],
        "fused": [_entry(row) for row in found.fused],
    }


def _entry(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "layers": row.layers,
        "seconds": row.seconds,
        "flop": row.flop,
        "bytes": row.bytes,
        "limit_seconds": row.limit.seconds,
        "limit_by": row.limit.by or None,
    }
