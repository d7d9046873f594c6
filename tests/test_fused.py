"""The engine gives the logits of the model, whatever is fused and however it is cut: the same bits on any threads."""

import ast
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
from npmnv2.engine import fused as inference
from npmnv2.engine.folding import FoldedBlock, FoldedConv, FoldedNetwork, folded
from npmnv2.kernels.inference_block import blocks, cutting, head, project
from npmnv2.kernels.inference_block.records import COPY, EXPAND, STEM, Scratch, Weights
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
    for build, options in ((npmnv2.mobilenet_v2, {}), (npmnv2.mobilenet_v1, {"width_mult": 0.5})):
        engine = npmnv2.fuse(trained(build(**options)))
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
            np.testing.assert_array_equal(plan.logits, logits)


@pytest.mark.parametrize("loops", [pytest.param("compiled", marks=pytest.mark.compiled), "python"], indirect=True)
def test_a_network_whose_first_block_is_added_up_from_parts(loops):
    """On two threads a single small image is cut into parts, and x is added to their sum: the x of this call."""
    rng = np.random.default_rng(0)
    conv = lambda kind, *shape, relu6=True: FoldedConv(  # noqa: E731
        kind, kind, rng.normal(size=shape), rng.normal(size=shape[-1]), 1, 1 if kind == "depthwise" else 0, relu6
    )
    convs = conv("pointwise", 3, 256), conv("depthwise", 3, 3, 256), conv("pointwise", 256, 3, relu6=False)
    network = FoldedNetwork((FoldedBlock("b", convs, True),), rng.normal(size=(3, 2)), rng.normal(size=2), 3)
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


def block_calls(count=14):
    """Random blocks of every source and stride, cut both ways and unevenly: (block, cut, x)."""
    rng = np.random.default_rng(3)
    for k in range(count):
        source, threads = (EXPAND, STEM, COPY)[k % 3], 1 + k % 3
        stride = int(rng.integers(1, 4))
        N, H, W = shape = tuple(int(n) for n in (rng.integers(1, 5), *rng.integers(1, 8, 2)))
        E, M = 2 * int(rng.integers(1, 4)), int(rng.integers(1, 5))
        C = E if source == COPY else 3 if source == STEM and k % 2 else int(rng.integers(1, 4))
        pieces, padding, draw = 1 if source == STEM else 2, (1, "same")[int(rng.integers(2))], rng.standard_normal
        weights = Weights(
            draw((9 * C if source == STEM else C, E)), draw(E), draw((3, 3, E)), draw(E), draw((E, M)), draw(M)
        )
        shortcut, clip = bool(k % 2) and source != STEM, bool(k % 3)
        block = cutting.Block(source, 1 + k % 2, padding, stride, padding, shortcut, clip, weights)
        rows = source == STEM or bool(rng.integers(2))
        if stride > 1 or C != M:
            block = block._replace(shortcut=False)
        way = cutting.Rows(step := int(rng.integers(1, 4)), band=2 * step)
        if not rows:
            images, expand, each = (int(rng.integers(1, most)) for most in (N + 1, 5, pieces + 1))
            way = cutting.Channels(images, each, expand, step)
        yield block, cutting.cut_as(block, shape, threads, pieces, way), draw((N, H, W, C))


def call_of(block, cut, x, frame=lambda value: value):
    """What runs a block; its scratch and its output, full of NaN. `frame` is given every array."""
    weights = Weights(*map(frame, cutting.in_pieces(block, cut.pieces).weights))
    scratch = Scratch(*(frame(np.full(shape, np.nan)) for shape in cut.scratch))
    out = frame(np.full(cut.out, np.nan))
    return cutting.bind(block._replace(weights=weights), cut, out, scratch), scratch, out


def exact_block(block, x):
    from npmnv2 import ops

    clip, w = ops.relu6_forward, block.weights
    hidden = x
    if block.source == STEM:
        we = w.we.reshape(3, 3, x.shape[3], -1)
        hidden = clip(ops.conv2d_forward(x, we, block.stem_stride, block.stem_padding)[0] + w.be)[0]
    elif block.source == EXPAND:
        hidden = clip(x @ w.we + w.be)[0]
    hidden = clip(ops.depthwise_conv2d_forward(hidden, w.wd, block.stride, block.padding)[0] + w.bd)[0]
    out = hidden @ w.wp + w.bp
    return clip(out)[0] if block.clip else out + x if block.shortcut else out


def test_blocks_are_right_however_they_are_cut(loops):
    for block, cut, x in block_calls(60):
        run, _, out = call_of(block, cut, x)
        run(x)
        np.testing.assert_allclose(out, exact_block(block, x), rtol=1e-11, atol=1e-11)


def test_source_and_compiled_agree_and_no_element_has_two_owners(loops):
    """Each thread's share alone, as plain Python, on a result full of NaN: what it writes is right and its alone."""
    for block, cut, x in block_calls():
        run, scratch, out = call_of(block, cut, x)
        run(x)
        whole = out if len(scratch.parts) == 1 else scratch.parts
        writers = np.zeros(whole.shape, int)
        for thread in range(run.threads):
            alone, scratch, out = call_of(block, cut, x)
            share = plain(blocks.run, prange=lambda n, thread=thread: [thread], add_parts=lambda *arguments: None)
            share(x, alone.blocks, alone.threads)
            result = out if len(scratch.parts) == 1 else scratch.parts
            mine = ~np.isnan(result)
            np.testing.assert_allclose(result[mine], whole[mine], rtol=1e-11, atol=1e-11)
            writers += mine
            for plane in scratch[:-1]:  # and it works in its own plane of the scratch
                assert np.isnan(plane[np.arange(run.threads) != thread]).all()
        assert (writers == 1).all()


@pytest.mark.compiled
def test_nothing_outside_is_read_or_written():
    for block, cut, x in block_calls():
        frames = []

        def frame(value, frames=frames):
            """The same inside a larger array, full of NaN."""
            frames.append(np.full(value.size + 400, np.nan))
            inner = frames[-1][200:-200].reshape(value.shape)
            inner[...] = value
            return inner

        run, _, out = call_of(block, cut, x, frame)
        run(frame(x))
        np.testing.assert_allclose(out, exact_block(block, x), rtol=1e-11, atol=1e-11)
        for whole in frames:
            assert np.isnan(whole[:200]).all() and np.isnan(whole[-200:]).all()


def test_the_sum_of_parts_and_a_head(loops):
    rng = np.random.default_rng(0)
    for groups, shortcut, clip in itertools.product((1, 3), (False, True), (False, True)):
        parts, bias, x = rng.normal(size=(groups, 6, 4, 5)), rng.normal(size=5), rng.normal(size=(2, 3, 4, 5))
        for add_parts in (project.add_parts, plain(project.add_parts, prange=range)):
            out = np.full(x.shape, np.nan)
            add_parts(x, parts, bias, shortcut and not clip, clip, out)
            exact = parts.sum(axis=0).reshape(x.shape) + bias + (x if shortcut and not clip else 0)
            np.testing.assert_allclose(out, np.clip(exact, 0, 6) if clip else exact, rtol=1e-12, atol=1e-12)
    x, w, bias = rng.normal(size=(5, 3, 5, 4)), rng.normal(size=(3, 4, 2)), rng.normal(size=(3, 2))
    exact = np.clip(x @ np.concatenate(list(w), axis=1) + bias.ravel(), 0, 6).mean(axis=(1, 2))
    for average in (head.head, plain(head.head, prange=range)):
        pooled = np.full((5, 6), np.nan)
        average(x.reshape(-1, 4), w, bias, 2, 4, np.empty((2, 4, 2)), pooled)
        np.testing.assert_allclose(pooled, exact, rtol=1e-12)
    w, bias = rng.normal(size=(3, 6, 4)), rng.normal(size=(3, 4))
    exact = (pooled @ np.concatenate(list(w), axis=1) + bias.ravel())[:, :10]
    for classify in (head.classify, plain(head.classify, prange=range)):
        logits = np.full((5, 10), np.nan)
        classify(pooled, w, bias, 2, np.empty((3, 5, 4)), logits)
        np.testing.assert_allclose(logits, exact, rtol=1e-12, atol=1e-12)


def test_pieces_are_equal_and_of_a_size_that_vectors_like():
    for channels in range(8, 2000, 8):
        pieces = cutting.pieces_of(channels, 128)
        assert channels % pieces == 0 and channels // pieces <= 128
    assert [1280 // cutting.pieces_of(1280, 128), 144 // cutting.pieces_of(144, 192)] == [128, 144]


def test_no_function_has_more_than_eight_parameters_or_sixty_lines():
    kernels = ROOT / "npmnv2" / "kernels"
    for path in sorted([*(kernels / "inference_block").glob("*.py"), *(kernels / "training_block").glob("*.py")]):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef):
                assert len(function.args.args) <= 8, (path.name, function.name)
                assert function.end_lineno - function.lineno < 60, (path.name, function.name)
