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
from npmnv2.engine import fused as inference
from npmnv2.engine.folding import folded
from npmnv2.kernels.inference_block import cutting as fused
from npmnv2.kernels.inference_block import head_loops
from npmnv2.kernels.inference_block import loops as fused_loops
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
    bases = {}
    _, out, rooms = plan.first
    arrays = [out, *rooms.values(), plan.logits]
    for call in itertools.chain(*plan.calls):  # the weights of these are no part of it
        arrays += [value for value in getattr(call, "args", ()) if isinstance(value, np.ndarray)]
    weights = [value for cut in engine._cut.values() for value in cut if isinstance(value, np.ndarray)]
    for view in arrays:
        if not any(np.shares_memory(view, w) for w in weights):
            base = view
            while isinstance(base.base, np.ndarray):
                base = base.base
            bases[id(base)] = base
    assert nbytes <= sum(base.nbytes for base in bases.values()) <= nbytes + 64 * len(bases)


@cases
def test_all_blocks_in_one_call_are_the_calls_one_by_one(build, options, shape, loops, dtype):
    engine = npmnv2.fuse(trained(build(**options, dtype=dtype)))
    rng = np.random.default_rng(2)
    for threads in range(1, min(2, npmnv2.get_num_threads()) + 1):
        with limit_threads(threads):
            for _ in range(2 if threads == 1 else 1):  # the second time with other images, which lie elsewhere
                x = rng.normal(size=(*shape, engine.network.in_channels)).astype(dtype)
                logits = engine(x)
                [*_, plan] = engine._plans.values()
                assert plan.blocks == (0 if build is TWIN or options.get("width_mult") == 0.1 else len(plan.layers) - 2)
                plan.logits[:] = np.nan
                engine.profile(x)  # makes them one by one
                np.testing.assert_array_equal(plan.logits, logits)


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
        source = (fused_loops.EXPAND, fused_loops.STEM, fused_loops.COPY)[k % 3]
        stride = int(rng.integers(1, 4))
        N, H, W = (int(n) for n in (rng.integers(1, 5), *rng.integers(1, 8, 2)))
        E, M = 2 * int(rng.integers(1, 4)), int(rng.integers(1, 5))
        C = E if source == fused_loops.COPY else 3 if source == fused_loops.STEM and k % 2 else int(rng.integers(1, 4))
        pieces = 1 if source == fused_loops.STEM else 2
        e, padding = E // pieces, (1, "same")[int(rng.integers(2))]
        draw = rng.standard_normal
        block = fused.Block(
            source, 1 + k % 2, padding, draw((9 * C if source == fused_loops.STEM else C, E)), draw(E), stride, padding,
            draw((3, 3, E)), draw(E), draw((E, M)), draw(M), bool(k % 2) and source != fused_loops.STEM, bool(k % 3),
        )  # fmt: skip
        by_rows = source == fused_loops.STEM or bool(rng.integers(2))
        cut = (fused.by_rows if by_rows else fused.by_channels)(block, (N, H, W), threads=1 + k % 3)
        g, threads, step = cut.sizes, 1 + k % 3, int(rng.integers(1, 4))
        if block.shortcut and cut.out != (N, H, W, C):
            block = block._replace(shortcut=False)
        rooms = dict(cut.rooms, narrow=(threads, step * g.OW, M))
        if by_rows:
            rooms |= {"wide": (threads, stride * (step - 1) + 3, g.columns, e), "hidden": (threads, step * g.OW, e)}
            cut = cut._replace(pieces=pieces, step=step, band=2 * step, rooms=rooms)
        else:
            images, group, each = (int(rng.integers(1, most)) for most in (N + 1, 5, pieces + 1))
            rows = max(g.corner[0] + g.H, stride * (g.OH - 1) + 3)
            rooms |= {"wide": (threads, images * rows, g.columns, e), "hidden": (threads, images * g.OH * g.OW, e)}
            rooms |= {"room": (threads, group * g.W, e), "parts": (-(-pieces // each), *cut.out)}
            cut = cut._replace(pieces=pieces, images=images, group=group, step=step, each=each, rooms=rooms)
        yield block, cut, draw((N, H, W, C))


def call_of(block, cut, x):
    """The compiled kernel, its arguments: at their end four rooms, full of NaN, and the result."""
    block = fused.in_pieces(block, cut.pieces)
    rooms = {name: np.full(shape, np.nan) for name, shape in cut.rooms.items()}
    parts = rooms.pop("parts", None)
    out = np.full(cut.out, np.nan) if parts is None else parts[0]
    [call] = fused.bind(block, cut, x, out, rooms)
    arguments = list(call.args)
    if parts is not None:
        arguments[-1] = parts.reshape(len(parts), -1, *parts.shape[3:])
    return call.func, arguments


def exact_block(block, x):
    from npmnv2 import ops

    clip = ops.relu6_forward
    hidden = x
    if block.source == fused_loops.STEM:
        w = block.we.reshape(3, 3, x.shape[3], -1)
        hidden = clip(ops.conv2d_forward(x, w, block.stem_stride, block.stem_padding)[0] + block.be)[0]
    elif block.source == fused_loops.EXPAND:
        hidden = clip(x @ block.we + block.be)[0]
    hidden = clip(ops.depthwise_conv2d_forward(hidden, block.wd, block.stride, block.padding)[0] + block.bd)[0]
    out = hidden @ block.wp + block.bp
    return clip(out)[0] if block.clip else out + x if block.shortcut else out


def finish(block, cut, x, parts):
    """What `add_up` makes of the groups: with one group they are finished already."""
    if len(parts) == 1:
        return parts[0].reshape(cut.out)
    out = np.empty(parts.shape[1:])
    fused_loops.add_up(parts, block.bp, x.reshape(-1, *x.shape[2:]), block.shortcut, block.clip, out)
    return out.reshape(cut.out)


def test_blocks_are_right_however_they_are_cut(loops):
    for block, cut, x in block_calls(60):
        kernel, arguments = call_of(block, cut, x)
        kernel(*arguments)
        out = finish(block, cut, x, arguments[-1])
        np.testing.assert_allclose(out, exact_block(block, x), rtol=1e-11, atol=1e-11)


def test_source_and_compiled_agree_and_no_element_has_two_owners(loops):
    """Each thread's share alone, as plain Python, on a result full of NaN: what it writes is right and its alone."""
    for block, cut, x in block_calls():
        kernel, compiled = call_of(block, cut, x)
        kernel(*compiled)
        writers = np.zeros(compiled[-1].shape, int)
        for b in range(cut.rooms["wide"][0]):
            _, alone = call_of(block, cut, x)
            plain(kernel, prange=lambda n, b=b: [b])(*alone)
            mine = ~np.isnan(alone[-1])
            np.testing.assert_allclose(alone[-1][mine], compiled[-1][mine], rtol=1e-11, atol=1e-11)
            writers += mine
            for room in alone[-5:-1]:  # and it works in its own plane of the rooms
                others = np.arange(len(room)) != b
                assert np.isnan(room[others]).all()
        assert (writers == 1).all()


@pytest.mark.compiled
def test_nothing_outside_is_read_or_written():
    for block, cut, x in block_calls():
        framed = []
        kernel, arguments = call_of(block, cut, x)
        for value in arguments:
            if isinstance(value, np.ndarray):
                room = np.full(value.size + 400, np.nan)
                inner = room[200:-200].reshape(value.shape)
                inner[...] = value
                value = inner
                framed.append(room)
            framed.append(value)
        arguments = [value for value in framed if not (isinstance(value, np.ndarray) and value.base is None)]
        kernel(*arguments)
        out = finish(block, cut, x, arguments[-1])
        np.testing.assert_allclose(out, exact_block(block, x), rtol=1e-11, atol=1e-11)
        for room in framed:
            if isinstance(room, np.ndarray) and room.base is None:
                assert np.isnan(room[:200]).all() and np.isnan(room[-200:]).all()


def test_the_parts_of_a_sum_and_of_a_head(loops):
    rng = np.random.default_rng(0)
    for groups, shortcut, clip in itertools.product((1, 3), (False, True), (False, True)):
        parts, bias, x = rng.normal(size=(groups, 6, 4, 5)), rng.normal(size=5), rng.normal(size=(6, 4, 5))
        for add_up in (fused_loops.add_up, plain(fused_loops.add_up, prange=range)):
            out = np.full(x.shape, np.nan)
            add_up(parts, bias, x, shortcut and not clip, clip, out)
            exact = parts.sum(axis=0) + bias + (x if shortcut and not clip else 0)
            np.testing.assert_allclose(out, np.clip(exact, 0, 6) if clip else exact, rtol=1e-12, atol=1e-12)
    x, w, bias = rng.normal(size=(5, 3, 5, 4)), rng.normal(size=(3, 4, 2)), rng.normal(size=(3, 2))
    exact = np.clip(x @ np.concatenate(list(w), axis=1) + bias.ravel(), 0, 6).mean(axis=(1, 2))
    for head in (head_loops.head, plain(head_loops.head, prange=range)):
        pooled = np.full((5, 6), np.nan)
        head(x.reshape(-1, 4), 15, w, bias, 2, 4, np.empty((2, 4, 2)), pooled)
        np.testing.assert_allclose(pooled, exact, rtol=1e-12)
    w, bias = rng.normal(size=(3, 6, 4)), rng.normal(size=(3, 4))
    exact = (pooled @ np.concatenate(list(w), axis=1) + bias.ravel())[:, :10]
    for classify in (head_loops.classify, plain(head_loops.classify, prange=range)):
        logits = np.full((5, 10), np.nan)
        classify(pooled, w, bias, 2, np.empty((3, 5, 4)), logits)
        np.testing.assert_allclose(logits, exact, rtol=1e-12, atol=1e-12)


def test_pieces_are_equal_and_of_a_size_that_vectors_like():
    for channels in range(8, 2000, 8):
        pieces = fused.pieces_of(channels, 128)
        assert channels % pieces == 0 and channels // pieces <= 128
    assert [1280 // fused.pieces_of(1280, 128), 144 // fused.pieces_of(144, 192)] == [128, 144]
