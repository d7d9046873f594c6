"""The kernels that train a block: equal to its layers one by one, the same bits on any threads, no race, no overrun."""

import copy
import itertools
import os
import pathlib
import pickle
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
    depthwise_backward_loops,
    depthwise_loops,
    forward_loops,
    steps,
)
from npmnv2.kernels.training_block import block as training_block
from npmnv2.nn.blocks import InvertedResidual
from npmnv2.runtime.threads import limit_threads

pytestmark = pytest.mark.usefixtures("numba_backend")
ROOT = pathlib.Path(npmnv2.__file__).parents[1]

# image, channels out, stride, t, padding
CASES = [
    ((2, 5, 7, 4), 4, 1, 6, 1),
    ((2, 6, 9, 4), 5, 2, 6, 1),
    ((1, 8, 8, 32), 16, 1, 1, 1),
    ((3, 14, 13, 24), 24, 1, 6, "same"),
    ((2, 15, 12, 24), 32, 2, 6, "same"),
    ((2, 1, 1, 8), 8, 1, 6, 1),
    ((2, 2, 3, 8), 8, 2, 6, 1),
    ((2, 7, 7, 160), 160, 1, 6, 1),
    ((4, 9, 9, 4), 6, 1, 3, ((0, 1), (2, 1))),
    ((4, 9, 10, 4), 6, 2, 3, ((2, 1), (2, 1))),
    ((4, 9, 10, 4), 6, 2, 3, ((1, 2), (0, 3))),
    ((3, 33, 40, 16), 24, 2, 6, 1),
    ((4, 6, 5, 7), 7, 1, 1, 1),
]


def block_of(case, dtype):
    (*_, C), M, stride, t, padding = case
    options = {"stride": stride, "t": t, "padding": padding, "rng": np.random.default_rng(0), "dtype": dtype}
    return randomise(InvertedResidual(C, M, **options))


def results(block, x):
    """Everything that a training step computes, by name."""
    out = block(x)
    dx = block.backward(np.random.default_rng(2).normal(size=out.shape).astype(x.dtype))
    gradients = {name: p.grad for name, p in block.named_parameters().items()}
    return {"out": out, "dx": dx, **gradients, **{f"state {name}": v for name, v in block.state_dict().items()}}


ALWAYS, NEVER = 0, 1 << 30  # of `training_block.CUT.thin`: whether what the expansion makes is computed anew, or stored


def cut(patch, **changes):
    """Cut the work otherwise."""
    patch.setattr(training_block, "CUT", training_block.CUT._replace(**changes))


def steps_in_python(patch, **modules):
    """Run the steps of a block as plain Python, and what they call out of `modules`; the other kernels as they are."""
    for name, value in list(vars(steps).items()):
        if hasattr(value, "py_func"):
            patch.setattr(steps, name, value.py_func)
    for name, kernels in modules.items():
        patch.setattr(steps, name, types.SimpleNamespace(**kernels))


def kernels_of(module):
    return {name: value for name, value in vars(module).items() if isinstance(value, Kernel)}


def thinner(case):
    """The same case with few channels and not many pixels, for plain Python."""
    (N, H, W, C), M, *rest = case
    return (N, min(H, 17), min(W, 22), min(C, 4)), min(M, 5) if C != M else min(M, 4), *rest


WAYS = [pytest.param("python", np.float64, 1e-10, id="python")] + [
    pytest.param("compiled", dtype, bound, id=f"compiled-{dtype.__name__}", marks=pytest.mark.compiled)
    for dtype, bound in ((np.float64, 1e-10), (np.float32, 2e-5))
]


@pytest.mark.parametrize("loops, dtype, bound", WAYS, indirect=["loops"])
@pytest.mark.parametrize("thin", [ALWAYS, NEVER], ids=["anew", "stored"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_same_as_layer_by_layer(monkeypatch, case, thin, loops, dtype, bound):
    check_block(monkeypatch, case if loops == "compiled" else thinner(case), thin, dtype, bound)


def check_block(monkeypatch, case, thin, dtype, bound):
    cut(monkeypatch, thin=thin)
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
@pytest.mark.parametrize("thin", [ALWAYS, NEVER], ids=["anew", "stored"])
@pytest.mark.parametrize("case", CASES[:4], ids=str)
def test_the_steps_agree_in_python_and_compiled(monkeypatch, case, thin):
    cut(monkeypatch, few=8, tile=12, piece=12, thin=thin)
    x = np.random.default_rng(1).normal(size=case[0])
    compiled = results(block_of(case, np.float64), x)
    steps_in_python(monkeypatch)
    for name, value in results(block_of(case, np.float64), x).items():
        np.testing.assert_allclose(value, compiled[name], rtol=1e-10, atol=1e-10, err_msg=name)


def test_statistics_of_what_is_not_stored_where_channels_are_nearly_alike(loops):
    rng = np.random.default_rng(0)
    x = (100 + rng.normal(size=(2, 40, 40, 1)) + 1e-2 * rng.normal(size=(2, 40, 40, 8))).astype(np.float32)
    we = np.array([[1, -1, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]], np.float32).T.copy()  # nearly 0 and not
    norm = training_block.Norm(np.ones(2, np.float32), np.zeros(2, np.float32), 1e-5)
    shape = training_block.shape_of(2, 40, 40, 8, 2, 8, 40, 40, 1, 1, 1, 1, True, training_block.CUT)
    expand_inside = plain(steps._expand_inside) if loops == "python" else steps._expand_inside
    *_, (mean, var, _) = expand_inside(shape, x.reshape(1, -1, 8), we, norm, 1)
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
            arguments = [a if not isinstance(a, np.ndarray) else np.ascontiguousarray(a) for a in arguments]
            before = copy.deepcopy(arguments)
            kernel(*arguments)
            made.append((kernel, before, copy.deepcopy(arguments)))

        return call

    with monkeypatch.context() as patch, limit_threads(threads):
        recorded = {module.__name__.split(".")[-1]: kernels_of(module) for module in LOOPS}
        steps_in_python(patch, **{m: {k: recorder(v) for k, v in kernels.items()} for m, kernels in recorded.items()})
        for case, thin in itertools.product((CASES[k] for k in cases), (ALWAYS, NEVER)):
            cut(patch, few=8, tile=12, piece=12, thin=thin)
            case = thinner(case)
            results(block_of(case, np.float64), np.random.default_rng(1).normal(size=case[0]))
    return made


def same(found, expected):
    for a, b in zip(found, expected, strict=True):
        if isinstance(b, np.ndarray):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


ROOMS = {"wide", "hidden", "narrow", "raw", "room", "part", "spread"}


def is_room(kernel, position):
    """Whether it is scratch: what a room holds afterwards nobody reads."""
    return kernel.py_func.__code__.co_varnames[position] in ROOMS


def kept(kernel, arguments):
    return [a for k, a in enumerate(arguments) if not is_room(kernel, k)]


@pytest.mark.compiled
def test_source_and_compiled_agree(monkeypatch):
    seen = set()
    for kernel, before, after in calls(monkeypatch):
        again = copy.deepcopy(before)
        plain(kernel, prange=range)(*again)
        same(kept(kernel, again), kept(kernel, after))
        seen.add(kernel)
    assert len(seen) == 11


def test_no_element_has_two_owners(monkeypatch, loops):
    """Each iteration alone, on results full of NaN: what it writes is right and its alone; rooms are its own plane."""
    for kernel, before, after in calls(monkeypatch, threads=min(2, npmnv2.get_num_threads()), cases=(0, 1, 2)):
        names = kernel.py_func.__code__.co_varnames
        written = [
            k
            for k, (a, b) in enumerate(zip(before, after, strict=True))
            if isinstance(a, np.ndarray) and not np.array_equal(a, b, equal_nan=True)
        ]
        pairs = [(k, a, b) for k, (a, b) in enumerate(zip(before, after, strict=True)) if isinstance(a, np.ndarray)]
        changed = [k for k, a, b in pairs if not np.array_equal(a, b, equal_nan=True)]
        sums = ("mean", "var", "sums")  # made after the parallel loop
        written = [k for k in changed if not is_room(kernel, k) and names[k] not in sums]
        counts: list[int] = []
        plain(kernel, prange=lambda n, counts=counts: counts.append(n) or range(n))(*copy.deepcopy(before))
        writers = [np.zeros(before[k].shape, int) for k in written]
        for one in range(counts[0]):
            alone = copy.deepcopy(before)
            for k in written:
                alone[k][...] = np.nan
            with np.errstate(all="ignore"):
                plain(kernel, prange=lambda n, one=one: [one])(*alone)
            for k, count in zip(written, writers, strict=True):
                mine = ~np.isnan(alone[k])
                np.testing.assert_allclose(alone[k][mine], after[k][mine], rtol=1e-11, atol=1e-11)
                count += mine
        for count in writers:
            assert (count == 1).all(), kernel


@pytest.mark.compiled
def test_nothing_outside_is_read_or_written(monkeypatch):
    for kernel, before, after in calls(monkeypatch, cases=range(len(CASES))):
        frames, wholes = {}, []
        for value in before:
            if isinstance(value, np.ndarray) and id(value) not in frames:  # some arrays are given twice
                whole = np.full(value.size + 400, np.nan, value.dtype)
                frames[id(value)] = whole[200:-200].reshape(value.shape)
                frames[id(value)][...] = value
                wholes.append(whole)
        framed = [frames.get(id(value), value) for value in before]
        kernel(*framed)
        same(kept(kernel, framed), kept(kernel, after))
        for whole in wholes:
            assert np.isnan(whole[:200]).all() and np.isnan(whole[-200:]).all(), kernel


# -- wrong backwards: each must be noticed by `check_block`

MUTANTS = [
    ("expand", "(y - back[k, 0, e]) * back[k, 3, e]", "0", "the part of dgamma dropped"),
    ("expand", "dz - back[k, 2, e] -", "dz -", "the part of dbeta dropped"),
    ("project", "h <= zero or h >= six", "False", "no mask, in the last rows of a tile"),
    ("project", "or h[1] >= high", "", "no upper kink, in every fourth row"),
    ("depthwise", "let_through(t, r, zero, low, high)", "t", "no mask, in every second row"),
    ("depthwise", "norm[k, 0, e])", "0)", "dgamma with y, not with its deviations, in the last columns"),
    ("depthwise", "target + p", "p", "every pair of rows over the first"),
    ("project", "first == begin", "True", "only the last tile of a group counts for dw"),
    ("depthwise", "sent == 0", "True", "only the last rows of an image count for dwe"),
    ("depthwise", "sent, held = sent + held, 0", "sent, held = 0, 0", "all rows of an image sent to its first"),
    ("finish", "- narrow[b, r, c]", "", "the part of dgamma dropped, where y1 is not stored"),
    ("finish", "- constant[c]", "", "the part of dbeta dropped, where y1 is not stored"),
    ("finish", "dx[p, c] += parts[k, p, c]", "dx[p, c] = parts[k, p, c]", "only the last piece counts for dx there"),
    ("finish", "dx[p, c] += dout[p, c]", "pass", "the shortcut forgotten there"),
    ("expand", "dx[j, p, c] += narrow", "dx[j, p, c] = narrow", "only the last piece counts for dx"),
    ("expand", "dout[p, c] + narrow", "narrow", "the shortcut forgotten"),
    ("depthwise", "dw[slot, i, j, e] = 0", "dw[slot, i, j, e] = 1", "dw begins at one"),
]


@pytest.mark.parametrize("name, right, wrong, why", MUTANTS, ids=[m[3] for m in MUTANTS])
def test_wrong_backwards_are_noticed(monkeypatch, in_python, name, right, wrong, why):
    module = depthwise_backward_loops if name == "depthwise" else backward_loops
    source = pathlib.Path(module.__file__).read_text()
    assert right in source
    scope = {"__name__": "mutant"}
    source = source.replace(right, wrong)
    for compiling in ("apart", "inline", "scalar", "task"):
        source = source.replace(f"@compile_{compiling}\n", "")
    source = "\n".join(line for line in source.splitlines() if " = compile_kernel(" not in line)
    exec(source.replace("from numba import prange", "prange = range"), scope)
    scope |= {helper: value.py_func for helper, value in scope.items() if hasattr(value, "py_func")}  # from other files
    mutant = kernels_of(module) | {name: scope[f"_{name}"]}
    steps_in_python(monkeypatch, **{module.__name__.rpartition(".")[2]: mutant})
    cut(monkeypatch, few=8, tile=12, piece=12)
    with pytest.raises((AssertionError, ValueError)):  # a ValueError by slices that do not fit
        for thin in (ALWAYS, NEVER):
            check_block(monkeypatch, CASES[0], thin, np.float64, 1e-10)


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


@pytest.mark.parametrize("C, t, fused", [(193, 2, False), (197, 6, False), (200, 6, True), (7, 1, True)])
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
