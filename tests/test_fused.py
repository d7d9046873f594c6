"""The engine gives the logits of the model, whatever is fused and however it is cut: the same bits on any threads."""

import copy
import itertools
import os
import pathlib
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from python_loops import plain

import npmnv2
from npmnv2 import ops
from npmnv2.engine import fused as inference
from npmnv2.engine.folding import FoldedBlock, FoldedConv, FoldedNetwork, folded
from npmnv2.kernels.inference_block import blocks, cutting, head, project
from npmnv2.kernels.inference_block.records import COPY, EXPAND, STEM, Cut, Scratch, Weights
from npmnv2.kernels.tiles import CHANNELS, PIXELS
from npmnv2.runtime.threads import limit_threads

ROOT = pathlib.Path(npmnv2.__file__).parents[1]


def trained(model, seed=0):
    """The model with statistics, scales and shifts as after training, so that folding and clipping have work to do."""
    rng, state = np.random.default_rng(seed), model.state_dict()
    for name, value in state.items():
        if name.endswith(".var"):
            state[name] = rng.uniform(0.5, 2, value.shape)
        elif name.endswith((".mean", ".beta", ".b")):
            state[name] = 0.3 * rng.normal(size=value.shape)
        elif name.endswith(".gamma"):
            state[name] = rng.uniform(0.7, 1.4, value.shape)
    model.load_state_dict(state)
    return model.eval()


V2, V1, TWIN = npmnv2.mobilenet_v2, npmnv2.mobilenet_v1, npmnv2.mobilenet_v1_conv
CASES = [
    (V2, {}, (1, 224, 224)),
    (V2, {"width_mult": 1.4, "padding": "same", "num_classes": 1001}, (1, 161, 97)),
    (V2, {"width_mult": 0.35, "padding": "same"}, (3, 96, 130)),
    (V2, {"width_mult": 0.35, "strides": "digits", "in_channels": 1, "num_classes": 10}, (5, 8, 8)),
    (V2, {"width_mult": 0.1, "num_classes": 3}, (2, 64, 33)),  # its first block adds the stem's output
    (V2, {"width_mult": 0.35, "strides": (3, 1, 3, 2, 2, 1, 2, 1)}, (2, 120, 131)),
    (V2, {"width_mult": 0.35, "num_classes": 1}, (1, 1, 1)),
    (V2, {"width_mult": 0.35}, (9, 40, 33)),
    (V1, {"width_mult": 0.5}, (1, 128, 90)),
    (V1, {"width_mult": 0.25, "padding": "same", "strides": "cifar"}, (2, 33, 32)),
    (TWIN, {"width_mult": 0.25}, (2, 65, 64)),
]


TINY = [  # for plain Python
    (V2, {"width_mult": 0.35, "strides": "digits", "in_channels": 1, "num_classes": 10}, (2, 6, 5)),
    (V2, {"width_mult": 0.1, "num_classes": 3}, (2, 20, 13)),  # its first block adds the stem's output
    (V2, {"width_mult": 0.35, "strides": (3, 1, 3, 2, 2, 1, 2, 1), "padding": "same"}, (1, 30, 31)),
    (V2, {"width_mult": 0.35, "num_classes": 1}, (1, 1, 1)),
    (V1, {"width_mult": 0.25, "padding": "same", "strides": "cifar"}, (1, 9, 8)),
    (TWIN, {"width_mult": 0.1}, (2, 17, 16)),
]
cases = pytest.mark.parametrize(
    "loops, build, options, shape, dtype",
    [("python", *case, "float64") for case in TINY]
    + [
        pytest.param("compiled", *case, dtype, marks=pytest.mark.compiled)
        for case in CASES
        for dtype in ("float32", "float64")
    ],
    indirect=["loops"],
)
SMALL = {"num_classes": 10, "width_mult": 0.35, "strides": "digits"}


@cases
def test_logits_are_the_models(build, options, shape, loops, dtype):
    model = trained(build(**options, dtype=dtype))
    x = np.random.default_rng(1).normal(size=(*shape, model.config["in_channels"])).astype(dtype)
    expected = model(x)
    logits = npmnv2.fuse(model)(x)
    assert logits.dtype == dtype and logits.shape == expected.shape
    assert abs(logits - expected).max() <= {"float32": 1e-5, "float64": 1e-12}[dtype] * abs(expected).max()


BITS = """
import hashlib, sys
import numpy as np, npmnv2
sys.path.insert(0, "tests")
from test_fused import trained
digests = set()
for threads in (1, 2, 3, 8):
    npmnv2.set_num_threads(threads)
    digest, rng = hashlib.sha256(), np.random.default_rng(0)
    for build, width in ((npmnv2.mobilenet_v2, 1), (npmnv2.mobilenet_v1, 0.55), (npmnv2.efficientnet_lite, 0.75)):
        engine = npmnv2.fuse(trained(build(10, width)))
        for shape in ((1, 160, 130, 3), (3, 65, 97, 3), (1, 224, 224, 3), (8, 40, 50, 3)):
            digest.update(engine(rng.normal(size=shape).astype(np.float32)).tobytes())
    digests.add(digest.hexdigest())
print(len(digests))
"""


@pytest.mark.compiled
def test_the_same_bits_at_any_number_of_threads():
    done = subprocess.run(
        [sys.executable, "-c", BITS],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"NUMBA_NUM_THREADS": "8"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1"


def test_the_wide_middle_is_never_whole():
    """The bound of section 5.1 is |x| + |y| of the widest narrow ends, 2,408,448 bytes."""
    engine = npmnv2.fuse(npmnv2.mobilenet_v2())
    for threads in range(1, min(2, npmnv2.get_num_threads()) + 1):
        with limit_threads(threads):
            assert engine.working_bytes(1, 224, 224) <= 1.25 * 2_408_448


def test_working_bytes_are_those_of_the_buffers():
    engine = npmnv2.fuse(npmnv2.mobilenet_v2(10, 0.35))
    nbytes = engine.working_bytes(2, 50, 60)
    [plan] = engine._plans.values()
    assert nbytes == sum(region.nbytes for region in plan.regions)
    for _, out in plan.runs:
        assert any(np.shares_memory(out, region) for region in plan.regions)


@cases
def test_images_that_lie_elsewhere_and_a_profile_give_the_same_bits(build, options, shape, loops, dtype):
    engine = npmnv2.fuse(trained(build(**options, dtype=dtype)))
    rng = np.random.default_rng(2)
    for threads in range(1, min(2, npmnv2.get_num_threads()) + 1):
        with limit_threads(threads):
            x = rng.normal(size=(*shape, engine.network.in_channels)).astype(dtype)
            logits = engine(x)
            if threads == 1:
                engine(rng.normal(size=x.shape).astype(dtype))
                np.testing.assert_array_equal(engine(x.copy()), logits)
            [*_, plan] = engine._plans.values()
            plan.logits[:] = np.nan
            engine.profile(x)
            np.testing.assert_array_equal(plan.logits[:, : logits.shape[1]], logits)


def test_a_network_whose_blocks_are_added_up_from_parts(loops):
    """On two threads a single small image is cut into parts, and x is added to their sum: the x of this call.

    x of the first block has no room for whole panels, so that one runs as its convolutions.
    """
    rng = np.random.default_rng(0)
    conv = lambda kind, *shape, relu6=True: FoldedConv(  # noqa: E731
        kind, kind, rng.normal(size=shape), rng.normal(size=shape[-1]), 1, 1 if kind == "depthwise" else 0, relu6
    )
    convs = conv("pointwise", 3, 256), conv("depthwise", 3, 3, 256), conv("pointwise", 256, 3, relu6=False)
    network = FoldedNetwork((FoldedBlock("b", convs, True),) * 3, rng.normal(size=(3, 2)), rng.normal(size=2), 3)
    engine = inference.Engine(network)
    with limit_threads(min(2, npmnv2.get_num_threads())):
        for _ in range(2):
            x = rng.normal(size=(1, 4, 4, 3))
            np.testing.assert_allclose(engine(x), network(x), rtol=1e-11)


@cases
def test_a_profile_names_every_layer_once_in_order(build, options, shape, loops, dtype):
    model = build(**options, dtype=dtype)
    engine = npmnv2.fuse(model)
    x = np.zeros((*shape, model.config["in_channels"]), dtype)
    times = engine.profile(x)
    convs = [conv.name for block in folded(model).blocks for conv in block.convs]
    assert [name for layers, _ in times for name in layers] == [*convs, "pool", "fc"]
    assert all(seconds > 0 for _, seconds in times)


def test_a_profile_needs_what_it_times():
    engine = npmnv2.fuse(npmnv2.mobilenet_v2(10, 0.35))
    with pytest.raises(ValueError, match=r"^x must hold at least one image; was none$"):
        engine.profile(np.zeros((0, 8, 8, 3), np.float32))


def test_buffers_are_used_again_and_results_are_the_callers(loops, monkeypatch):
    monkeypatch.setattr(inference, "PLANS", 2)
    engine = npmnv2.fuse(trained(npmnv2.mobilenet_v2(**SMALL)))
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(1, size, 6, 3)).astype(np.float32) for size in (4, 6, 9)]
    first = [engine(x) for x in images]
    kept = [logits.copy() for logits in first]
    again = [engine(x) for x in reversed(images)][::-1]
    assert len(engine._plans) == inference.PLANS
    for a, b, c in zip(first, kept, again, strict=True):
        np.testing.assert_array_equal(a, b)  # no later call wrote into an earlier result
        np.testing.assert_array_equal(a, c)


def test_any_layout_is_taken_and_nothing_is_written(loops):
    engine = npmnv2.fuse(trained(npmnv2.mobilenet_v2(**SMALL)))
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 7)).astype(np.float32).transpose(0, 2, 3, 1)[:, ::-1]
    x.flags.writeable = False
    before = x.copy()
    np.testing.assert_array_equal(engine(x), engine(np.ascontiguousarray(x)))
    np.testing.assert_array_equal(x, before)


def test_training_the_model_changes_nothing(loops):
    model = trained(npmnv2.mobilenet_v2(**SMALL))
    engine, x = npmnv2.fuse(model), np.ones((1, 8, 8, 3), np.float32)
    before = engine(x)
    for p in model.parameters():
        p.value += 1
    np.testing.assert_array_equal(engine(x), before)


def test_a_value_that_is_not_finite_is_not_hidden(loops):
    engine = npmnv2.fuse(trained(npmnv2.mobilenet_v2(**SMALL)))
    x = np.zeros((2, 8, 9, 3), np.float32)
    x[1, 5, 3, 1] = np.nan
    logits = engine(x)
    assert np.isfinite(logits[0]).all() and np.isnan(logits[1]).all()


@pytest.mark.parametrize("build, width", [(V2, 0.75), (V1, 0.1)])
def test_an_infinite_value_gives_what_it_gives_the_model(build, width, loops):
    """It is clipped after the stem, whose channels fill no panel here."""
    model = trained(build(4, width, dtype="float64"))
    x = np.random.default_rng(0).normal(size=(1, 14, 13, 3))
    x[0, 5, 6, 1] = np.inf
    expected = model(x)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(npmnv2.fuse(model)(x), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("used", [pytest.param(False, marks=pytest.mark.compiled), True])
def test_a_copy_gives_the_same_bits(used, loops):
    engine, x = npmnv2.fuse(trained(npmnv2.mobilenet_v2(**SMALL))), np.ones((2, 5, 4, 3), np.float32)
    if used:
        engine(x)
    copies = copy.copy(engine), copy.deepcopy(engine), pickle.loads(pickle.dumps(engine))
    logits = [another(x) for another in (*copies, engine)]
    for found in logits[:-1]:
        np.testing.assert_array_equal(found, logits[-1])


def test_no_images_give_no_logits(in_python):
    assert npmnv2.fuse(npmnv2.mobilenet_v2(**SMALL))(np.zeros((0, 64, 64, 3), np.float32)).shape == (0, 10)


def test_bad_input_is_named():
    engine = npmnv2.fuse(npmnv2.mobilenet_v2(**SMALL))
    for x, error, message in (
        (np.zeros((1, 64, 64, 1), np.float32), ValueError, r"^x must have shape \(N, H, W, 3\)"),
        (np.zeros((64, 64, 3), np.float32), ValueError, "^x must have shape"),
        (np.zeros((1, 64, 64, 3)), TypeError, "^x must have the network's dtype"),
        ([[1.0]], TypeError, "^x must be a NumPy array"),
        (np.zeros((1, 0, 64, 3), np.float32), ValueError, "^x must not be empty"),
    ):
        with pytest.raises(error, match=message):
            engine(x)
    with pytest.raises(ValueError, match=r"^N must be at least"):
        engine.working_bytes(0, 8, 8)
    with pytest.raises(TypeError, match=r"^model must be"):
        npmnv2.fuse(folded)


def test_several_python_threads_at_once(loops):
    model = trained(npmnv2.mobilenet_v2(**SMALL))
    engine, rng = npmnv2.fuse(model), np.random.default_rng(0)
    count, times = (4, 10) if loops == "compiled" else (3, 1)
    images = [rng.normal(size=(1, 4 + k, 6, 3)).astype(np.float32) for k in range(count)]
    expected, wrong = [engine(x) for x in images], []

    def work(k):
        for _ in range(times):
            if not np.array_equal(engine(images[k]), expected[k]):
                wrong.append(k)

    workers = [threading.Thread(target=work, args=(k,)) for k in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


# -- the loops: plain Python against compiled, who writes what, and that nothing outside is touched

KERNELS = [(3, 3)] * 4 + [(5, 5)] * 2 + [(1, 1), (2, 2), (1, 4), (3, 2), (7, 7)]  # three in five have code of their own


def random_block(rng, source, widths, most):
    """A block and the shape of images that it takes, (N, H, W, room); its channels seldom fill a panel."""
    draw = rng.standard_normal
    while True:
        N, H, W = (int(n) for n in (rng.integers(1, 5), *rng.integers(1, most, 2)))
        C, E, M = (int(n) for n in rng.integers(1, widths))
        kernel, stem = (KERNELS[int(k)] for k in rng.integers(len(KERNELS), size=2))
        stride, stem_stride = (int(n) for n in rng.integers(1, 4, 2))
        padding, stem_padding = ((0, 1, "same", 3)[int(k)] for k in rng.integers(4, size=2))
        if source == COPY:
            C = E
        if kept := source != STEM and stride == 1 and kernel[0] == kernel[1] and kernel[0] % 2 and rng.integers(2):
            padding, M = kernel[0] // 2, C
        rows = {STEM: stem[0] * stem[1] * C, EXPAND: C, COPY: 0}[source]
        weights = Weights(draw((rows, E)), draw(E), draw((kernel[0] * kernel[1], E)), draw(E), draw((E, M)), draw(M))
        clip = not kept and bool(rng.integers(2))
        block = cutting.Block(source, C, stem, stem_stride, stem_padding, kernel, stride, padding, kept, clip, weights)
        shape = N, H, W, C if source == STEM else cutting.whole(C)
        try:
            cutting.sizes_of(block, shape)
        except ValueError:  # a kernel does not fit
            continue
        return block, shape


def random_cut(rng, block, shape):
    """Any cut that `records.Cut` allows."""
    (sizes, _), panels = cutting.sizes_of(block, shape), cutting.whole(block.weights.bd.size) // CHANNELS
    if sizes.OH > 1 and rng.integers(2):
        rows = int(rng.integers(1, sizes.OH))
        band = int(rng.integers(rows, sizes.OH + 1))
        return Cut(1, band, rows, cutting.rows_of_wide(sizes, rows), panels, 1)
    images, piece = int(rng.integers(1, shape[0] + 1)) if block.source != STEM else 1, int(rng.integers(1, panels + 1))
    pieces = (1, -(-panels // piece))[int(rng.integers(2))]
    return Cut(images, sizes.OH, sizes.OH, cutting.rows_of_wide(sizes, sizes.OH), piece, pieces)


def block_calls(count, widths=(20, 50, 40), most=12, seed=3):
    """Random blocks of every source, kernel and stride, cut both ways and unevenly: (block, plan, x)."""
    rng = np.random.default_rng(seed)
    for k in range(count):
        block, shape = random_block(rng, (EXPAND, STEM, COPY)[k % 3], widths, most)
        threads = (1, 2, 3, 8)[k % 4]
        x = np.zeros(shape)
        x[..., : block.C] = rng.standard_normal((*shape[:3], block.C))
        yield block, cutting.plan_as(block, shape, threads, random_cut(rng, block, shape)), x


def call_of(block, plan, x, frame=lambda value: value):
    """What runs a block; its scratch and its output, full of NaN. `frame` is given every array."""
    packed = cutting.packed(block, plan.cut.piece)
    packed = packed._replace(weights=Weights(*map(frame, packed.weights)))
    scratch = Scratch(*(frame(np.full(shape, np.nan)) for shape in plan.scratch))
    out = frame(np.full(plan.out, np.nan))
    return cutting.bind(packed, plan, out, scratch), scratch, out


def exact_block(block, x):
    """The result by `ops`, with zeros up to whole panels."""
    clip, w, hidden = ops.relu6_forward, block.weights, x[..., : block.C]
    if block.source == STEM:
        we = w.we.reshape(*block.stem_kernel, block.C, -1)
        hidden = clip(ops.conv2d_forward(hidden, we, block.stem_stride, block.stem_padding)[0] + w.be)[0]
    elif block.source == EXPAND:
        hidden = clip(hidden @ w.we + w.be)[0]
    wd = w.wd.reshape(*block.kernel, -1)
    hidden = clip(ops.depthwise_conv2d_forward(hidden, wd, block.stride, block.padding)[0] + w.bd)[0]
    found = hidden @ w.wp + w.bp
    if block.shortcut:
        found = found + x[..., : block.C]
    out = np.zeros((*found.shape[:3], cutting.whole(found.shape[3])))
    out[..., : found.shape[3]] = clip(found)[0] if block.clip else found
    return out


def test_blocks_are_right_however_they_are_cut(loops):
    for block, plan, x in block_calls(*((400, (40, 100, 60), 24) if loops == "compiled" else (40,))):
        run, _, out = call_of(block, plan, x)
        run(x)
        np.testing.assert_allclose(out, exact_block(block, x), rtol=1e-11, atol=1e-10)


def test_what_is_not_finite_is_what_it_is_by_ops(loops):
    """An infinity is clipped to 6 wherever it is, also where channels do not fill a panel; NaN is NaN."""
    for k, (block, plan, x) in enumerate(block_calls(*((200, (40, 100, 60), 24) if loops == "compiled" else (40,)))):
        n, y, across = (int(v) for v in np.random.default_rng(k).integers(x.shape[:3]))
        x[n, y, across, k % block.C] = (np.inf, -np.inf, np.nan)[k % 3 if k % 5 else 2]
        run, _, out = call_of(block, plan, x)
        with np.errstate(invalid="ignore"):
            run(x)
            exact = exact_block(block, x)
        M = block.weights.bp.size
        np.testing.assert_allclose(out[..., :M], exact[..., :M], rtol=1e-11, atol=1e-10)


def test_the_bits_of_a_block_do_not_depend_on_threads_or_rows(loops, monkeypatch):
    """Cut as the engine cuts, but that there is more to cut, and by rows of any number."""
    tuning = cutting.TUNING._replace(rows_from=7, cache=1 << 12, piece=32, gather=40)
    monkeypatch.setattr(cutting, "TUNING", tuning)
    rng = np.random.default_rng(5)
    for k in range(60 if loops == "compiled" else 12):
        block, shape = random_block(rng, (EXPAND, STEM, COPY)[k % 3], (20, 100, 40), 16 if loops == "compiled" else 9)
        x, found = np.zeros(shape), []
        x[..., : block.C] = rng.standard_normal((*shape[:3], block.C))
        for threads in (1, 2, 3, 8):
            run, _, out = call_of(block, cutting.plan(block, shape, threads), x)
            run(x)
            found.append(out)
        np.testing.assert_allclose(found[0], exact_block(block, x), rtol=1e-11, atol=1e-10)
        for out in found[1:]:
            np.testing.assert_array_equal(out, found[0])


def test_source_and_compiled_agree_and_no_element_has_two_owners(loops):
    """Each thread's share alone, as plain Python, on a result full of NaN: what it writes is right and its alone."""
    for block, plan, x in block_calls(24, (20, 36, 36), 8):
        run, scratch, out = call_of(block, plan, x)
        run(x)
        whole = scratch.parts if len(scratch.parts) else out
        writers = np.zeros(whole.shape, int)
        for thread in range(run.threads):
            alone, scratch, out = call_of(block, plan, x)
            if run.threads == 1:
                alone(x)
            else:
                share = plain(blocks.run, prange=lambda n, thread=thread: [thread], add_parts=lambda *arguments: None)
                share(x.reshape(-1), alone.blocks, alone.threads)
            result = scratch.parts if len(scratch.parts) else out
            mine = ~np.isnan(result)
            np.testing.assert_allclose(result[mine], whole[mine], rtol=1e-11, atol=1e-10)
            writers += mine
            for plane in scratch[:-1]:  # and it works in its own plane of the scratch
                assert np.isnan(plane[np.arange(run.threads) != thread]).all()
        assert (writers == 1).all()


@pytest.mark.compiled
def test_nothing_outside_is_read_or_written():
    for block, plan, x in block_calls(200, (40, 100, 60), 24, seed=4):
        frames = []

        def frame(value, frames=frames):
            """The same inside a larger array, full of NaN."""
            frames.append(np.full(value.size + 2000, np.nan))
            inner = frames[-1][1000:-1000].reshape(value.shape)
            inner[...] = value
            return inner

        run, _, out = call_of(block, plan, x, frame)
        run(frame(x))
        np.testing.assert_allclose(out, exact_block(block, x), rtol=1e-11, atol=1e-10)
        for whole in frames:
            assert np.isnan(whole[:1000]).all() and np.isnan(whole[-1000:]).all()


def both(kernel):
    """A kernel as it runs in this test, and as plain Python of each thread alone."""
    yield kernel
    yield lambda *arguments: [plain(kernel, prange=lambda n, k=k: [k] if k < n else [])(*arguments) for k in range(48)]


def test_the_sum_of_parts(loops):
    rng = np.random.default_rng(0)
    for groups, shortcut, clip in itertools.product((1, 3), (False, True), (False, True)):
        parts, x = 3 * rng.normal(size=(groups, 24, 16)), rng.normal(size=(24, 16))
        exact = parts.sum(axis=0) + (x if shortcut else 0)
        for add_parts in both(project.add_parts):
            out = np.full(x.shape, np.nan)
            add_parts(x, parts, shortcut, clip, out)
            np.testing.assert_allclose(out, np.clip(exact, 0, 6) if clip else exact, rtol=1e-12, atol=1e-12)


def test_the_head(loops):
    """Of any number of images, pixels, channels and threads; a plain thread alone writes what is its own."""
    rng = np.random.default_rng(0)
    for k in range(24):
        N, pixels, C, M = (int(n) for n in (rng.integers(1, 6), (1, 2, 4, 9, 49)[k % 5], *rng.integers(1, 40, 2)))
        x, w, b = np.full((N, pixels, cutting.whole(C)), np.nan), rng.normal(size=(C, M)), rng.normal(size=M)
        x[..., :C] = rng.normal(size=(N, pixels, C))
        images, piece, threads = (int(n) for n in (rng.integers(1, N + 1), rng.integers(1, 4), (1, 2, 3, 8)[k % 4]))
        sizes = head.Head(N, pixels, C, x.shape[2], images, piece)
        packed, bias = cutting.in_panels(w), cutting.filled_up(b)
        for average in both(head.head):
            pooled, scratch = np.full((N, len(bias)), np.nan), np.full((threads, PIXELS * CHANNELS), np.nan)
            average(x, packed, bias, sizes, scratch, pooled)
            np.testing.assert_allclose(
                pooled[:, :M], np.clip(x[..., :C] @ w + b, 0, 6).mean(axis=1), rtol=1e-11, atol=1e-11
            )
            assert (pooled[:, M:] == 0).all()


def test_the_classifier(loops):
    rng = np.random.default_rng(0)
    for N, M in itertools.product((1, 4, 5, 7, 8, 15), (1, 16, 35)):
        x, w, b = rng.normal(size=(N, 32)), rng.normal(size=(32, M)), rng.normal(size=M)
        packed, bias = cutting.in_panels(w), cutting.filled_up(b)
        for classify in both(head.classify):
            logits = np.full((N, len(bias)), np.nan)
            classify(x, packed, bias, logits)
            np.testing.assert_allclose(logits[:, :M], x @ w + b, rtol=1e-11, atol=1e-11)
            assert (logits[:, M:] == 0).all()


def test_pieces_are_nearly_equal():
    """No piece is larger than the number that the core wants, and the last is the only one that may be smaller."""
    most = cutting.TUNING.piece // CHANNELS
    for panels in range(1, 200):
        piece = cutting.piece_of(panels)
        assert 1 <= piece <= most and piece * -(-panels // piece) - panels < -(-panels // piece)
