"""The kernels that train a block: equal to its layers one by one, the same bits on any threads, no race, no overrun."""

import copy
import itertools
import os
import pathlib
import pickle
import re
import subprocess
import sys
import types

import numpy as np
import pytest
from cases import randomise
from python_loops import plain

import npmnv2
from npmnv2.kernels.jit import Kernel
from npmnv2.kernels.training_block import (
    backward_loops,
    cutting,
    depthwise_backward_loops,
    depthwise_loops,
    forward_loops,
    records,
    steps,
)
from npmnv2.kernels.training_block import block as training_block
from npmnv2.nn.blocks import InvertedResidual
from npmnv2.runtime.threads import limit_threads
from npmnv2.shapes import conv_geometry

pytestmark = pytest.mark.usefixtures("numba_backend")
ROOT = pathlib.Path(npmnv2.__file__).parents[1]

# image, channels out, stride, t, padding, [rows of the kernel]
CASES = [
    ((2, 5, 7, 4), 4, 1, 6, 1),
    ((2, 6, 9, 4), 5, 2, 6, 1),
    ((1, 8, 8, 32), 16, 1, 1, 1),
    ((3, 14, 13, 24), 24, 1, 6, "same"),
    ((2, 15, 12, 24), 32, 2, 6, "same"),
    ((2, 1, 1, 8), 8, 1, 6, 1),
    ((2, 2, 3, 8), 8, 2, 6, 1),
    ((2, 7, 7, 160), 160, 1, 6, 1),
    ((4, 9, 9, 4), 6, 1, 6, ((0, 1), (2, 1))),
    ((4, 9, 16, 4), 6, 2, 6, ((2, 1), (2, 1))),
    ((4, 9, 10, 4), 6, 2, 6, ((1, 2), (0, 3))),
    ((3, 33, 40, 16), 24, 2, 6, 1),
    ((4, 6, 5, 25), 25, 1, 1, 1),
    ((2, 15, 12, 24), 24, 1, 6, 2, 5),
    ((2, 17, 20, 4), 5, 2, 6, "same", 5),
    ((1, 20, 33, 24), 24, 1, 1, 2, 5),
    ((2, 6, 5, 4), 6, 2, 6, ((4, 2), (1, 3)), 5),
    ((2, 12, 30, 4), 6, 2, 6, ((0, 3), (4, 0)), 5),
    ((2, 3, 8, 4), 4, 1, 6, ((4, 0), (0, 4)), 5),
]


def block_of(case, dtype):
    (*_, C), M, stride, t, padding, *kernel = case
    options = {
        "kernel": kernel[0] if kernel else 3,
        "stride": stride,
        "t": t,
        "padding": padding,
        "rng": np.random.default_rng(0),
        "dtype": dtype,
    }
    return randomise(InvertedResidual(C, M, **options))


def results(block, x):
    """Everything that a training step computes, by name."""
    out = block(x)
    dx = block.backward(np.random.default_rng(2).normal(size=out.shape).astype(x.dtype))
    gradients = {name: p.grad for name, p in block.named_parameters().items()}
    return {"out": out, "dx": dx, **gradients, **{f"state {name}": v for name, v in block.state_dict().items()}}


ALWAYS, NEVER = 0, 1 << 30  # of `TUNING.recompute`: whether what the expansion makes is computed anew, or stored


def cut(patch, **changes):
    """Cut the work otherwise."""
    patch.setattr(cutting, "TUNING", cutting.TUNING._replace(**changes))


def steps_in_python(patch, **modules):
    """Run the steps of a block as plain Python, and what they call out of `modules`; the other kernels as they are."""
    for name, value in list(vars(steps).items()):
        if hasattr(value, "py_func"):
            is_here = value.py_func.__module__ == steps.__name__
            patch.setattr(steps, name, value.py_func if is_here else plain(value))
    for name, kernels in modules.items():
        patch.setattr(steps, name, types.SimpleNamespace(**kernels))


def kernels_of(module):
    return {name: value for name, value in vars(module).items() if isinstance(value, Kernel)}


def smaller(case):
    """The same case with few channels and not many pixels, for plain Python."""
    (N, H, W, C), M, stride, t, *rest = case
    most = 4 if t > 1 else 17  # a tile has 16 channels
    return (N, min(H, 17), min(W, 22), min(C, most)), min(M, 5) if C != M else min(M, most), stride, t, *rest


WAYS = [pytest.param("python", np.float64, 1e-10, id="python")] + [
    pytest.param("compiled", dtype, bound, id=f"compiled-{dtype.__name__}", marks=pytest.mark.compiled)
    for dtype, bound in ((np.float64, 1e-10), (np.float32, 2e-5))
]


@pytest.mark.parametrize("loops, dtype, bound", WAYS, indirect=["loops"])
@pytest.mark.parametrize("recompute", [ALWAYS, NEVER], ids=["anew", "stored"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_same_as_layer_by_layer(monkeypatch, case, recompute, loops, dtype, bound):
    check_block(monkeypatch, case if loops == "compiled" else smaller(case), recompute, dtype, bound)


def check_block(monkeypatch, case, recompute, dtype, bound):
    cut(monkeypatch, recompute=recompute)
    x = np.random.default_rng(1).normal(size=case[0]).astype(dtype)
    found, exact = block_of(case, dtype), block_of(case, np.float64)
    with npmnv2.backend("numpy"):
        expected = results(exact, x.astype(np.float64))
    if x[..., 0].size < 8 and dtype == np.float32:
        return  # two values a channel: xhat is 1 or -1, and its gradient rounding alone
    for name, value in results(found, x).items():
        assert value.dtype == dtype and value.shape == expected[name].shape
        floor = 1e-2 * max(abs(expected["dx"]).max(), 1e-3)
        assert abs(value - expected[name]).max() <= bound * max(abs(expected[name]).max(), floor), name


@pytest.mark.compiled
@pytest.mark.parametrize("recompute", [ALWAYS, NEVER], ids=["anew", "stored"])
@pytest.mark.parametrize("case", CASES[:4], ids=str)
def test_the_steps_agree_in_python_and_compiled(monkeypatch, case, recompute):
    cut(monkeypatch, few=8, tile=12, piece=24, recompute=recompute)
    x = np.random.default_rng(1).normal(size=case[0])
    compiled = results(block_of(case, np.float64), x)
    steps_in_python(monkeypatch)
    for name, value in results(block_of(case, np.float64), x).items():
        np.testing.assert_allclose(value, compiled[name], rtol=1e-10, atol=1e-10, err_msg=name)


def test_statistics_of_what_is_not_stored_where_channels_are_nearly_alike(loops):
    rng = np.random.default_rng(0)
    x = (100 + rng.normal(size=(2, 40, 40, 1)) + 1e-2 * rng.normal(size=(2, 40, 40, 8))).astype(np.float32)
    we = np.array([[1, -1, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]], np.float32).T.copy()  # nearly 0 and not
    norm = records.BatchNorm(np.ones(2, np.float32), np.zeros(2, np.float32), 1e-5)
    sizes, cuts = cutting.cut(x.shape, (2, 8, 3), conv_geometry(40, 40, 3, 3, padding=1), True, True, cutting.TUNING)
    center = plain(steps._center) if loops == "python" else steps._center
    *_, (mean, var, _) = center(sizes, cuts, x.reshape(1, -1, 8), we, norm, 1)
    y = x.astype(np.float64) @ we
    np.testing.assert_allclose(var, y.var(axis=(0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(mean, y.mean(axis=(0, 1, 2)), rtol=1e-6, atol=1e-5)


@pytest.mark.compiled
def test_a_whole_network_in_float64():
    x, y = np.random.default_rng(0).normal(size=(3, 40, 36, 3)), np.arange(3)
    found = []
    for backend in ("numpy", "numba"):
        model = npmnv2.mobilenet_v2(10, 0.35, dtype="float64", dropout=0.0)
        with npmnv2.backend(backend):
            dx = model.backward(npmnv2.ops.softmax_cross_entropy(model(x), y)[1])
        found.append({"dx": dx, **{name: p.grad for name, p in model.named_parameters().items()}, **model.state_dict()})
    for name, value in found[0].items():
        assert abs(value - found[1][name]).max() <= 1e-10 * max(1, abs(value).max()), name


BITS = """
import hashlib
import numpy as np, npmnv2
from npmnv2 import ops
from npmnv2.nn import optim
digests = set()
for threads in (1, 2, 3, 8):
    npmnv2.set_num_threads(threads)
    digest, rng = hashlib.sha256(), np.random.default_rng(0)
    model = npmnv2.mobilenet_v2(10, 0.5)
    sgd = optim.SGD(model.parameters(), 0.1)
    for shape in ((5, 64, 50, 3), (2, 96, 97, 3)):
        logits = model(rng.normal(size=shape).astype(np.float32))
        digest.update(model.backward(ops.softmax_cross_entropy(logits, np.arange(len(logits)))[1]).tobytes())
        sgd.step()
    for value in model.state_dict().values():
        digest.update(value.tobytes())
    digests.add(digest.hexdigest())
print(len(digests))
"""


@pytest.mark.compiled
def test_a_training_step_gives_the_same_bits_at_any_number_of_threads():
    environment = os.environ | {"NUMBA_NUM_THREADS": "8", "NPMNV2_BACKEND": "numba"}
    command = [sys.executable, "-c", BITS]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1"


# -- when the layers run one by one after all


def test_one_backward_for_one_forward(loops):
    block = block_of(CASES[0], np.float64)
    x = np.random.default_rng(1).normal(size=CASES[0][0])
    with npmnv2.backend("numpy"):
        block(x)  # leaves caches in the layers
    out = block(x)
    with pytest.raises(ValueError, match=r"^dout must have the shape"):
        block.backward(out[:1])
    block.backward(out)
    with pytest.raises(RuntimeError, match="needs a forward before it"):
        block.backward(out)
    block(x)
    with pytest.raises(ValueError, match=r"^w must have length"):
        block(x[..., :2])
    with pytest.raises(RuntimeError, match="needs a forward before it"):
        block.backward(out)


def test_who_looks_inside_sees_the_layers(loops):
    block = block_of(CASES[0], np.float64)
    x = np.random.default_rng(1).normal(size=CASES[0][0])
    names = ["expand.conv", "expand", "dw.bn", "project"]
    seen = block.activations(x, names)
    with npmnv2.backend("numpy"):
        expected = block.activations(x, names)
    for name in names:
        np.testing.assert_allclose(seen[name], expected[name], rtol=1e-10, atol=1e-10)


def test_frozen_norms_run_one_by_one(monkeypatch, loops):
    monkeypatch.setattr(training_block, "forward", lambda *_: pytest.fail("these kernels take batch statistics"))
    block = block_of(CASES[0], np.float64)
    block.dw.bn.eval()
    x = np.random.default_rng(1).normal(size=CASES[0][0])
    block.backward(block(x))


# -- the loops: plain Python against compiled, who writes what, and that nothing outside is touched


LOOPS = forward_loops, depthwise_loops, backward_loops, depthwise_backward_loops


def calls(monkeypatch, threads=1, cases=(0, 1, 2, 8, 10)):
    """Every call of a kernel that a few small blocks make: its name, arguments before it and arguments after it."""
    made = []

    def recorder(kernel):
        def call(*arguments):
            arguments = changed(np.ascontiguousarray, arguments)
            before = copy.deepcopy(arguments)
            kernel(*arguments)
            made.append((kernel, before, copy.deepcopy(arguments)))

        return call

    with monkeypatch.context() as patch, limit_threads(threads):
        recorded = {module.__name__.split(".")[-1]: kernels_of(module) for module in LOOPS}
        steps_in_python(patch, **{m: {k: recorder(v) for k, v in kernels.items()} for m, kernels in recorded.items()})
        for case, recompute in itertools.product((CASES[k] for k in cases), (ALWAYS, NEVER)):
            cut(patch, few=8, tile=12, piece=24, recompute=recompute)
            case = smaller(case)
            results(block_of(case, np.float64), np.random.default_rng(1).normal(size=case[0]))
    return made


def changed(function, value):
    """`value`, or what it holds, with every array replaced by the function of it."""
    if isinstance(value, tuple):
        found = [changed(function, v) for v in value]
        return type(value)(*found) if hasattr(value, "_fields") else tuple(found)
    return function(value) if isinstance(value, np.ndarray) else value


def arrays(arguments, names):
    """Every array in the arguments: its name, which of a record's is two names, and itself."""
    for name, value in zip(names, arguments, strict=False):
        if isinstance(value, np.ndarray):
            yield name, value
        elif hasattr(value, "_fields"):
            yield from arrays(value, [f"{name}.{field}" for field in value._fields])


def results_of(kernel, arguments):
    """The arrays that are not scratch: what that holds afterwards nobody reads."""
    names = kernel.py_func.__code__.co_varnames
    return {k: v for k, v in arrays(arguments, names) if k.split(".")[0] not in ("scratch", "narrow")}


def same(kernel, found, expected):
    found, expected = results_of(kernel, found), results_of(kernel, expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-11, atol=1e-11, err_msg=f"{kernel} {name}")


@pytest.mark.compiled
def test_source_and_compiled_agree(monkeypatch):
    seen = set()
    for kernel, before, after in calls(monkeypatch):
        again = copy.deepcopy(before)
        plain(kernel, prange=range)(*again)
        same(kernel, again, after)
        seen.add(kernel)
    assert len(seen) == 11


def test_no_element_has_two_owners(monkeypatch, loops):
    """Each iteration alone, on results full of NaN: what it writes is right and its alone; scratch is its own plane."""
    for kernel, before, after in calls(monkeypatch, threads=min(2, npmnv2.get_num_threads()), cases=(0, 1, 2)):
        given, made = results_of(kernel, before), results_of(kernel, after)
        sums = ("mean", "var", "sums")  # made after the parallel loop
        written = [k for k, v in given.items() if not np.array_equal(v, made[k], equal_nan=True) and k not in sums]
        counts: list[int] = []
        plain(kernel, prange=lambda n, counts=counts: counts.append(n) or range(n))(*copy.deepcopy(before))
        writers = {k: np.zeros(given[k].shape, int) for k in written}
        for one in range(counts[0]):
            alone = copy.deepcopy(before)
            found = results_of(kernel, alone)
            for k in written:
                found[k][...] = np.nan
            with np.errstate(all="ignore"):
                plain(kernel, prange=lambda n, one=one: [one])(*alone)
            for k, count in writers.items():
                mine = ~np.isnan(found[k])
                np.testing.assert_allclose(found[k][mine], made[k][mine], rtol=1e-11, atol=1e-11)
                count += mine
        for count in writers.values():
            assert (count == 1).all(), kernel


@pytest.mark.compiled
def test_nothing_outside_is_read_or_written(monkeypatch):
    for kernel, before, after in calls(monkeypatch, cases=range(len(CASES))):
        frames, wholes = {}, []

        def framed(value, frames=frames, wholes=wholes):
            if id(value) not in frames:  # some arrays are given twice
                whole = np.full(value.size + 400, np.nan, value.dtype)
                frames[id(value)] = whole[200:-200].reshape(value.shape)
                frames[id(value)][...] = value
                wholes.append(whole)
            return frames[id(value)]

        arguments = changed(framed, tuple(before))
        kernel(*arguments)
        same(kernel, arguments, after)
        for whole in wholes:
            assert np.isnan(whole[:200]).all() and np.isnan(whole[-200:]).all(), kernel


# -- wrong backwards: each must be noticed by `check_block`

PIECES = ((2, 5, 7, 8), 8, 1, 6, 1)  # three
MUTANTS = [
    ("expand", "(y - norm[k, 0, e]) * norm[k, 3, e]", "0", "the part of dgamma dropped"),
    ("expand", "dz - norm[k, 2, e] -", "dz -", "the part of dbeta dropped"),
    ("project", "let_through(dz[k, p, e], h, zero, six)", "dz[k, p, e]", "no mask, in the last rows of a tile"),
    ("project", "let_through(dz[1], h[1], zero, six)", "dz[1] * (h[1] > 0)", "no upper kink in a row of four"),
    ("depthwise", "tile = let_through(tile, hidden, seen, (left + x) * E + e)", "pass", "no mask"),
    ("depthwise", "odd, hidden, other", "odd, hidden, at", "every second pixel of dy2 times the wrong of h"),
    ("depthwise", "range(channel - e, CHANNELS)", "range(CHANNELS)", "channels of the last tile counted twice"),
    ("depthwise", "norm[k, 0, e])", "0)", "dgamma with y, not with its deviations, in the last columns"),
    ("depthwise", "dz1.shape[1] + to", "dz1.shape[1]", "every row over the first"),
    ("project", "first == begin", "True", "only the last tile of a group counts for dw"),
    ("depthwise", "sent == 0", "True", "only the last rows of an image count for dwe"),
    ("depthwise", "sent, held = sent + held, 0", "sent, held = 0, 0", "all rows of an image sent to its first"),
    ("finish", "- narrow[t, r, c]", "", "the part of dgamma dropped, where y1 is not stored"),
    ("finish", "- constant[c]", "", "the part of dbeta dropped, where y1 is not stored"),
    ("finish", "dx[p, c] += parts[k, p, c]", "dx[p, c] = parts[k, p, c]", "only the last piece counts for dx there"),
    ("finish", "dx[p, c] += shortcut[p, c]", "pass", "the shortcut forgotten there"),
    ("expand", "wt[k], overwrite,", "wt[k], True,", "only the last piece counts for dx"),
    ("expand", "dx[share, p, c] = shortcut[p, c]", "dx[share, p, c] = 0", "the shortcut forgotten"),
    ("depthwise", " dw[slot] = 0", " dw[slot] = 1", "dw begins at one"),
]


@pytest.mark.parametrize("name, right, wrong, why", MUTANTS, ids=[m[3] for m in MUTANTS])
def test_wrong_backwards_are_noticed(monkeypatch, in_python, name, right, wrong, why):
    module = depthwise_backward_loops if name == "depthwise" else backward_loops
    source = pathlib.Path(module.__file__).read_text()
    assert right in source
    scope = {"__name__": "mutant"}
    source = source.replace(right, wrong)
    source = re.sub(r"^ *@compile_(apart|inline|scalar|task)\n", "", source, flags=re.MULTILINE)
    source = "\n".join(line for line in source.splitlines() if " = compile_kernel(" not in line)
    exec(source.replace("from numba import prange", "prange = range"), scope)
    scope |= {helper: plain(value) for helper, value in scope.items() if hasattr(value, "py_func")}  # from other files
    mutant = kernels_of(module) | {name: scope[f"_{name}"]}
    steps_in_python(monkeypatch, **{module.__name__.rpartition(".")[2]: mutant})
    cut(monkeypatch, few=8, tile=12, piece=24)
    with pytest.raises((AssertionError, ValueError, IndexError)):  # by slices that do not fit, rows that are not there
        for case, recompute in itertools.product((CASES[0], PIECES), (ALWAYS, NEVER)):
            check_block(monkeypatch, case, recompute, np.float64, 1e-10)


def test_a_network_can_be_copied_between_forward_and_backward(loops):
    model = npmnv2.mobilenet_v2(10, 0.1, strides="digits")
    x, dout = np.random.default_rng(0).normal(size=(2, 5, 4, 3)).astype(np.float32), np.eye(2, 10, dtype=np.float32)
    model(x)
    again = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    np.testing.assert_array_equal(model.backward(dout), again.backward(dout))


@pytest.mark.parametrize(
    "name, cut_off",
    [("expand.conv.w", np.s_[:, :8]), ("dw.conv.w", np.s_[:, :, :8]), ("project.conv.w", np.s_[:8])]
    + [(f"{part}.bn.{p}", np.s_[:3]) for part in ("expand", "dw", "project") for p in ("gamma", "beta")],
)
def test_parameters_that_do_not_fit_are_an_error_of_their_layer(name, cut_off, loops):
    """The kernels check no bounds: what they would read beyond the end must not reach them."""
    block = block_of(CASES[0], np.float64)
    p = block.named_parameters()[name]
    p.value = np.ascontiguousarray(p.value[cut_off])
    with pytest.raises(ValueError, match="must have length"):
        block(np.random.default_rng(1).normal(size=CASES[0][0]))


def test_only_plain_arrays_reach_the_kernels(loops):
    block = block_of(CASES[0], np.float64)
    block.project.conv.w.value = np.ma.array(block.project.conv.w.value)
    with pytest.raises(TypeError, match="plain"):
        block(np.random.default_rng(1).normal(size=CASES[0][0]))


def test_a_negative_epsilon_is_an_error(loops):
    block = block_of(CASES[0], np.float64)
    block.dw.bn.eps = -1.0
    with pytest.raises(ValueError, match=r"^eps must not be negative"):
        block(np.random.default_rng(1).normal(size=CASES[0][0]))


@pytest.mark.parametrize(
    "C, t, fused", [(193, 2, False), (197, 6, False), (200, 6, True), (7, 1, False), (25, 1, True)]
)
def test_channels_that_cannot_be_cut_run_one_by_one(monkeypatch, C, t, fused, loops):
    ran = []
    forward = training_block.forward
    monkeypatch.setattr(training_block, "forward", lambda *a: ran.append(True) or forward(*a))
    case = ((2, 3, 2, C), 8, 1, t, 1)
    x = np.random.default_rng(1).normal(size=case[0])
    found, exact = block_of(case, np.float64), block_of(case, np.float64)
    with npmnv2.backend("numpy"):
        expected = results(exact, x)
    for name, value in results(found, x).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-8, atol=1e-8, err_msg=name)
    assert bool(ran) == fused
