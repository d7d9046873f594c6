"""The fast way through the same network: batch norms folded, blocks fused, every buffer planned once and used again.

`FoldedNetwork` (folding.py) is the plain version: the same convolutions, one after the other, each result whole in
memory. The engine gives the same logits, to rounding, and the wide middle of a block is never whole: docs/fusion.md
derives how, kernels/inference_block/ does it.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from npmnv2 import ops
from npmnv2.backends import backend
from npmnv2.engine.folding import FoldedBlock, FoldedConv, FoldedNetwork, folded
from npmnv2.models.network import Network
from npmnv2.runtime.threads import get_num_threads, one_pool
from npmnv2.shapes import conv_geometry
from npmnv2.validate import Array, check_int

PLANS = 4  # sizes of input whose buffers are kept; the oldest gives way


Run = Callable[[Array], object]  # fills an array that it knows from the one that it is given


class Step(NamedTuple):
    """One thing to run: ``bind(out, scratch)`` gives what computes `out` from x, in `scratch`."""

    layers: tuple[str, ...]  # the names of what it does at once
    out: tuple[int, ...]  # its shape
    scratch: tuple[tuple[int, ...], ...]  # the shapes of what it works in
    bind: Callable[[Array, Any], Run]  # scratch: arrays of these shapes, in a record of the same type


class Plan(NamedTuple):
    """What there is to run for one size of input, and where."""

    layers: list[tuple[str, ...]]  # of each step
    runs: list[tuple[Run, Array]]  # the steps, each with its result, which the next is given
    joined: list[tuple[Run, Array]]  # the same, fused blocks in a row as one
    nbytes: int
    regions: list[Array]  # results in turn, and scratch

    @property
    def logits(self) -> Array:
        """The last result."""
        return self.runs[-1][1]

    def run(self, x: Array) -> None:
        """Run all steps."""
        for run, out in self.joined:
            run(x)
            x = out


class Engine:
    """A classifier of images for inference only; made by `fuse`."""

    def __init__(self, network: FoldedNetwork) -> None:
        self.network = network
        self._plans: dict[tuple[int, ...], Plan] = {}
        self._weights: dict[tuple[Any, ...], Any] = {}  # in panels, by what a step does and how it is cut
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy begins anew with the same weights: plans hold addresses, and there is a lock."""
        return Engine, (self.network,)

    def __call__(self, x: Array) -> Array:
        """Classify images.

        Parameters
        ----------
        x : ndarray of shape (N, H, W, in_channels)
            As for the model: in its dtype; any N, H and W. The first call of a size plans its buffers.

        Returns
        -------
        logits : ndarray of shape (N, num_classes)
            The bits do not depend on the number of threads.

        Raises
        ------
        ValueError, TypeError
            If `x` has another rank, number of channels or dtype than the model takes.
        """
        if 0 in getattr(x, "shape", ()):
            with backend("numba"):
                return self.network(x)
        from npmnv2.kernels.arrays import contiguous

        x = contiguous(self.network.check(x))
        with self._lock, backend("numba"), one_pool():  # the buffers serve one call at a time
            plan = self._plan(*x.shape[:3])
            plan.run(x)
            return plan.logits[:, : len(self.network.b)].copy()  # the buffer will be used again

    def profile(self, x: Array) -> list[tuple[tuple[str, ...], float]]:
        """Run once and take the time of every step.

        The first run with a size of images plans buffers, and the very first compiles: call the engine before.

        Parameters
        ----------
        x : ndarray of shape (N, H, W, in_channels)
            Images, at least one.

        Returns
        -------
        list of (layers, seconds)
            In the order they ran; the names of the layers that a step does at once.

        Raises
        ------
        ValueError, TypeError
            As for a call.

        Examples
        --------
        >>> import npmnv2
        >>> engine = npmnv2.fuse(npmnv2.mobilenet_v2(10, 0.35))
        >>> times = engine.profile(np.zeros((1, 32, 32, 3), np.float32))
        >>> times[0][0], times[-1][0], all(seconds > 0 for _, seconds in times)
        (('stem', 'b0.0.dw', 'b0.0.project'), ('fc',), True)
        """
        from npmnv2.kernels.arrays import contiguous

        x, times = contiguous(self.network.check(x)), []
        if len(x) == 0:
            raise ValueError("x must hold at least one image; was none")
        with self._lock, backend("numba"), one_pool():
            plan = self._plan(*x.shape[:3])
            for layers, (run, out) in zip(plan.layers, plan.runs, strict=True):
                start = time.perf_counter()
                run(x)
                times.append((layers, time.perf_counter() - start))
                x = out
        return times

    def working_bytes(self, N: int, H: int, W: int) -> int:
        """The bytes of a fused run's buffers for such images, not counting images, weights and the copy of the logits.

        Examples
        --------
        >>> import npmnv2
        >>> engine = npmnv2.fuse(npmnv2.mobilenet_v2(10, 0.35))
        >>> engine.working_bytes(1, 32, 32) < engine.working_bytes(2, 32, 32)
        True
        """
        with self._lock:
            return self._plan(check_int(N, "N"), check_int(H, "H"), check_int(W, "W")).nbytes

    def _plan(self, N: int, H: int, W: int) -> Plan:
        key = (N, H, W, get_num_threads())
        if key not in self._plans:
            if len(self._plans) == PLANS:
                self._plans.pop(next(iter(self._plans)))
            self._plans[key] = _lay_out(list(self._steps(*key)), self.network.w.dtype)
        return self._plans[key]

    def _steps(self, N: int, H: int, W: int, threads: int) -> Iterator[Step]:
        """Which blocks run as one, and how each is cut."""
        blocks = list(self.network.blocks)
        shape: tuple[int, ...] = (N, H, W, self.network.in_channels)
        while blocks:
            block = blocks.pop(0)
            is_first = len(blocks) == len(self.network.blocks) - 1  # so the pixels of x have no room for whole panels
            stem = block.convs + blocks[0].convs if blocks and not blocks[0].residual else ()
            if len(block.convs) == 1 and _can_fuse(stem, False):
                blocks.pop(0)
                step = self._fused(stem, False, shape, threads)
            elif not is_first and _can_fuse(block.convs, block.residual):
                step = self._fused(block.convs, block.residual, shape, threads)
            elif [conv.kind for conv in block.convs] == ["pointwise"] and block.convs[0].relu6 and not blocks:
                step = self._head(block.convs[0], shape, threads)
            else:
                step = _plain(block, shape)
            if block.residual and step.out[1:3] != shape[1:3]:
                raise ValueError(f"{block.name} has a padding that changes the size of the image, which is to be added")
            yield step
            shape = step.out
        if len(shape) == 4:
            shape = N, shape[3]
            yield Step(("pool",), shape, (), _average)
        yield self._classifier(shape)

    def _fused(self, convs: tuple[FoldedConv, ...], shortcut: bool, shape: tuple[int, ...], threads: int) -> Step:
        """A depthwise convolution, what comes before it and what comes after."""
        from npmnv2.kernels.inference_block import cutting

        block = cutting.block_of(convs, shortcut)
        plan = cutting.plan(block, shape, threads)
        names, piece = tuple(conv.name for conv in convs), plan.cut.piece
        block = self._packed((*names, piece), lambda: cutting.packed(block, piece))
        return Step(names, plan.out, plan.scratch, lambda out, scratch: cutting.bind(block, plan, out, scratch))

    def _head(self, conv: FoldedConv, shape: tuple[int, ...], threads: int) -> Step:
        """The last convolution and the average over the image."""
        from npmnv2.kernels.inference_block import cutting
        from npmnv2.kernels.inference_block.head import Head, head
        from npmnv2.kernels.tiles import CHANNELS, PIXELS

        (N, H, W, room), C = shape, len(conv.w)
        w, b = self._packed(
            (conv.name,), lambda: (cutting.in_panels(cutting.extended(conv.w)), cutting.extended(conv.bias))
        )
        sizes = Head(N, H * W, C, room, cutting.images_of(N, H * W, threads), cutting.piece_of(len(w)))

        def bind(out: Array, scratch: Any) -> Run:
            return lambda x: head(x, w, b, sizes, *scratch, out)

        return Step((conv.name, "pool"), (N, len(b)), ((threads, PIXELS * CHANNELS),), bind)

    def _classifier(self, shape: tuple[int, ...]) -> Step:
        """The linear layer."""
        from npmnv2.kernels.inference_block import cutting
        from npmnv2.kernels.inference_block.head import classify

        fc = self.network
        w, b = self._packed(("fc",), lambda: (cutting.in_panels(cutting.filled_up(fc.w, 0)), cutting.filled_up(fc.b)))

        def bind(out: Array, scratch: Any) -> Run:
            return lambda x: classify(x, w, b, out)

        return Step(("fc",), (shape[0], len(b)), (), bind)

    def _packed(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """What `make` returns, made once for every plan that asks by this key."""
        if key not in self._weights:
            self._weights[key] = make()
        return self._weights[key]


def fuse(model: Network) -> Engine:
    """The fast way through a trained network: ``fuse(model)(x)`` is ``model.eval()(x)`` to rounding.

    Parameters
    ----------
    model : Network
        From `mobilenet_v2`, `mobilenet_v1` or `weights.load_model`. Not modified, and its training afterwards changes
        nothing here.

    Returns
    -------
    Engine

    Raises
    ------
    TypeError
        If it is not a network.
    ValueError
        If a part of it was replaced, added or wrapped, as `folding.folded` says.

    Notes
    -----
    The multiply-adds of the network; a band of rows computes one or two rows above and below itself besides. The
    memory it works in at 224x224 is about that of the widest narrow ends, `Engine.working_bytes`.

    References
    ----------
    .. [1] Sandler et al., arXiv:1801.04381, section 5.1. docs/fusion.md.

    Examples
    --------
    >>> import numpy as np, npmnv2
    >>> model = npmnv2.mobilenet_v2(num_classes=10, width_mult=0.35)
    >>> x = np.random.default_rng(0).normal(size=(2, 64, 96, 3)).astype(np.float32)
    >>> bool(np.allclose(npmnv2.fuse(model)(x), model.eval()(x), atol=1e-5))
    True
    """
    return Engine(folded(model))


def _can_fuse(convs: tuple[FoldedConv, ...], residual: bool) -> bool:
    """Whether the fused kernels compute exactly this: [an expansion, or a stem,] depthwise, pointwise."""
    kinds = [conv.kind for conv in convs]
    if kinds[-2:] != ["depthwise", "pointwise"] or kinds[:-2] not in ([], ["standard"], ["pointwise"]):
        return False
    *before, last = convs
    return all(conv.relu6 for conv in before) and not (residual and last.relu6)


def _plain(block: FoldedBlock, shape: tuple[int, ...]) -> Step:
    """A block as FoldedNetwork runs it: those of V1's convolutional twin, and what `_can_fuse` knows nothing of."""
    from npmnv2.kernels.inference_block.cutting import whole

    N, H, W, _ = shape
    for conv in block.convs:
        if conv.kind != "pointwise":
            geometry = conv_geometry(H, W, conv.w.shape[0], conv.w.shape[1], conv.stride, conv.padding)
            H, W = geometry.OH, geometry.OW
    first, M = block.convs[0], block.convs[-1].bias.size
    C = first.w.shape[-1 if first.kind == "depthwise" else -2]

    def bind(out: Array, scratch: Any) -> Run:
        def run(x: Array) -> None:
            out[..., :M] = block(np.ascontiguousarray(x[..., :C]))
            out[..., M:] = 0

        return run

    return Step(tuple(conv.name for conv in block.convs), (N, H, W, whole(M)), (), bind)


def _average(out: Array, scratch: Any) -> Run:
    return lambda x: np.copyto(out, ops.global_avg_pool_forward(x)[0])


def _lay_out(steps: list[Step], dtype: np.dtype[Any]) -> Plan:
    """Give every step its memory.

    Results go to two regions in turn, each as large as the largest result it will hold. What a step works in goes to a
    third, which all share.
    """
    from npmnv2.kernels.arrays import empty

    results = [max((_padded(step.out) for step in steps[k::2]), default=0) for k in (0, 1)]
    scratch = max(sum(map(_padded, step.scratch)) for step in steps)
    regions = [empty((size,), dtype) for size in (*results, scratch)]
    runs = []
    for k, step in enumerate(steps):
        views, at = [], 0
        for shape in step.scratch:
            views.append(regions[2][at : at + math.prod(shape)].reshape(shape))
            at += _padded(shape)
        out = regions[k % 2][: math.prod(step.out)].reshape(step.out)
        runs.append((step.bind(out, _as(step.scratch, views)), out))
    nbytes = sum(region.nbytes for region in regions)
    return Plan([step.layers for step in steps], runs, _joined(runs), nbytes, regions)


def _joined(runs: list[tuple[Run, Array]]) -> list[tuple[Run, Array]]:
    """The same runs, with fused blocks in a row as one."""
    from npmnv2.kernels.inference_block.blocks import Blocks

    joined: list[tuple[Run, Array]] = []
    for run, out in runs:
        before = joined[-1][0] if joined else None
        if isinstance(run, Blocks) and isinstance(before, Blocks):
            joined[-1] = before + run, out
        else:
            joined.append((run, out))
    return joined


def _as(record: tuple[Any, ...], values: list[Array]) -> Any:
    """These values in a record of the same type."""
    return record._make(values) if hasattr(record, "_make") else values


def _padded(shape: tuple[int, ...]) -> int:
    """How many values to reserve, so that what comes after them begins at a cache line."""
    return -(-math.prod(shape) // 16) * 16
