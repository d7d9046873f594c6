"""Tiles: what LLVM is told to do gives what the plain NumPy above it gives. Nothing else in kernels is written twice.

All operations stand in one function, compiled once for each dtype; its plain version runs on the same arrays. Values
are multiples of 1/4, so that sums and products are exact and it makes no difference whether a multiply-add rounds once
or twice; only one test has others.
"""

import ast
import pathlib

import numba
import numpy as np
import pytest
from python_loops import plain

import npmnv2
from npmnv2.kernels import tiles
from npmnv2.kernels.jit import compile_scalar
from npmnv2.kernels.products import product, product_of_columns
from npmnv2.kernels.tiles import (
    CHANNELS,
    FEW,
    HALF,
    PIXELS,
    add,
    add_products,
    add_scaled,
    clip,
    let_through,
    neighbours,
    places,
    put,
    spread,
    zeros,
)

KERNELS = pathlib.Path(npmnv2.__file__).parent / "kernels"
FRAME = 300  # values on either side of an array
ROW = PIXELS * CHANNELS  # values of a tile
TILES = 11
RESULTS = 6  # of each


@compile_scalar
def _results(tile, at, to, x, w, numbers, out, n):
    """What is done with a tile, a result in each row of `out` from row n on."""
    _, _, _, offset, row, _ = numbers
    put(tile, out, to, n * ROW)
    put(add(tile, x, at, offset), out, to, (n + 1) * ROW)
    put(add_scaled(tile, x, at, offset, w, row), out, to, (n + 2) * ROW)
    put(add_products(tile, x, at, offset, w, row), out, to, (n + 3) * ROW)
    put(let_through(tile, x, at, offset), out, to, (n + 4) * ROW)
    put(clip(add(tile, x, at, offset)), out, to, (n + 5) * ROW)


def _operate(x, w, b, table, numbers, out):
    """Every operation, with tiles of every size, and at the end one that is put where its pixels lie."""
    first, last, stride, offset, _, m = numbers
    to, few_to = places(0, PIXELS, CHANNELS, PIXELS), places(0, PIXELS, CHANNELS, FEW)
    at, at_in = places(first, last, stride, PIXELS), places(first, last, table, PIXELS)
    few_at, few_at_in = places(first, last, stride, FEW), places(first, last, table, FEW)
    all_at = neighbours(first, stride, PIXELS)
    _results(spread(b, m, at), at, to, x, w, numbers, out, 0)
    _results(spread(b, m, at_in), at_in, to, x, w, numbers, out, RESULTS)
    _results(zeros(x, at, CHANNELS), at, to, x, w, numbers, out, 2 * RESULTS)
    _results(spread(b, m, few_at), few_at, few_to, x, w, numbers, out, 3 * RESULTS)
    _results(spread(b, m, few_at_in), few_at_in, few_to, x, w, numbers, out, 4 * RESULTS)
    _results(zeros(x, few_at, CHANNELS), few_at, few_to, x, w, numbers, out, 5 * RESULTS)
    _results(zeros(x, at, HALF), at, to, x, w, numbers, out, 6 * RESULTS)
    _results(zeros(x, few_at, HALF), few_at, few_to, x, w, numbers, out, 7 * RESULTS)
    _results(spread(b, m, all_at), all_at, to, x, w, numbers, out, 8 * RESULTS)
    three, five = neighbours(first, stride, 3), neighbours(first, stride, 5)
    _results(zeros(x, three, CHANNELS), three, neighbours(0, CHANNELS, 3), x, w, numbers, out, 9 * RESULTS)
    _results(zeros(x, five, HALF), five, neighbours(0, CHANNELS, 5), x, w, numbers, out, 10 * RESULTS)
    put(add(zeros(x, at, CHANNELS), x, at, offset), out, at, TILES * RESULTS * ROW + offset)


dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
operate = numba.njit(error_model="numpy", fastmath={"contract"})(_operate)


def draw(rng, dtype, values):
    """Arguments of `_operate`, their arrays as long as they need be."""
    first, stride, offset, row, m = (int(n) for n in rng.integers(0, (9, 40, 50, 30, 30)))
    last = first + int(rng.integers(0, PIXELS + 3))
    reach = max(last, first + max(PIXELS, 5) - 1) * stride + offset + CHANNELS
    x, w, b = (values(rng, size).astype(dtype) for size in (reach, row + CHANNELS, m + CHANNELS))
    table = rng.permutation(last + 1) * stride
    return x, w, b, table, (first, last, stride, offset, row, m)


def quarters(rng, size):
    return rng.integers(-40, 41, size) / 4


def hostile(rng, size):
    """Quarters, and what a comparison, a sum or a product may take amiss."""
    return rng.choice([np.nan, np.inf, -np.inf, -0.0, 0.0, -0.25, 2.5, 6.0, 6.25], size)


def run(function, arguments):
    """The result inside its frame of NaN, once all others were found to lie untouched in theirs."""
    *arrays, table, numbers = arguments
    framed = [np.full(a.size + 2 * FRAME, np.nan, a.dtype) for a in arrays]
    framed += [np.zeros(table.size + 2 * FRAME, int)]  # a place beyond the table is one of another pixel
    inner = [whole[FRAME:-FRAME] for whole in framed]
    for a, values in zip(inner, (*arrays, table), strict=True):
        a[:] = values
    before = [whole.copy() for whole in framed]
    size = TILES * RESULTS * ROW + arrays[0].size
    out = np.full(size + 2 * FRAME, np.nan, arrays[0].dtype)
    with np.errstate(all="ignore"):
        function(*inner, numbers, out[FRAME:-FRAME])
    for whole, old in zip(framed, before, strict=True):
        np.testing.assert_array_equal(whole, old)
    assert np.isnan(out[:FRAME]).all() and np.isnan(out[-FRAME:]).all()
    return out


def is_same(found, expected):
    """The same bits, but for what a NaN holds, and the sign of a zero that was clipped."""
    found, expected = found.copy(), expected.copy()
    for out in (found, expected):
        for k in range(RESULTS - 1, TILES * RESULTS, RESULTS):
            out[FRAME + k * ROW : FRAME + (k + 1) * ROW] += 0.0
        out[np.isnan(out)] = np.nan
    return np.array_equal(found, expected, equal_nan=True) and np.array_equal(np.signbit(found), np.signbit(expected))


@pytest.mark.parametrize("values", [quarters, hostile])
@dtypes
def test_compiled_and_plain_are_the_same(dtype, values):
    rng, in_python = np.random.default_rng(0), plain(operate)
    for _ in range(60):
        arguments = draw(rng, dtype, values)
        assert is_same(run(operate, arguments), run(in_python, arguments)), arguments[-1]


WRONG = {
    "places": lambda first, last, apart, pixels: tiles.places(first, last - 1, apart, pixels),
    "neighbours": lambda first, apart, pixels: first + np.arange(pixels) * apart,
    "spread": lambda b, m, at: np.tile(b[:CHANNELS], (len(at), 1)),
    "zeros": lambda like, at, channels: np.full((len(at), channels), -0.0, like.dtype),
    "add_scaled": lambda tile, x, at, offset, w, row: add_products(tile, x, at, offset, w, row),
    "add_products": lambda tile, x, at, offset, w, row: tile + add_scaled(tile * 0, x, at, offset, w, 0),
    "add": lambda tile, x, at, offset: tiles.add(tile, x, at, 0),
    "clip": lambda tile: np.nan_to_num(np.clip(tile, 0, 6), nan=0),
    "let_through": lambda tile, h, at, offset: tiles.let_through(tile, np.nextafter(h, 0), at, offset),
    "put": lambda tile, out, at, offset: tiles.put(tile[:, ::-1], out, at, offset),
}


def operations():
    """The names of what is compiled by a rule of its own."""
    tree = ast.parse((KERNELS / "tiles.py").read_text(encoding="utf-8"))
    rules = [d for node in tree.body if isinstance(node, ast.FunctionDef) for d in node.decorator_list]
    return {rule.args[0].id for rule in rules if isinstance(rule, ast.Call) and rule.func.id == "_in_place_of"}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_wrong_operation_is_seen(name):
    rng, wrong = np.random.default_rng(0), plain(operate, **{name: WRONG[name]})
    for _ in range(10):
        arguments = draw(rng, "float64", hostile)
        try:
            if not is_same(run(operate, arguments), run(wrong, arguments)):
                return
        except IndexError:  # beyond an array
            return
    pytest.fail(f"{name} may be wrong")


def test_none_is_left_out():
    assert operations() == set(WRONG) | {"fetch"}  # which gives nothing


@dtypes
def test_a_smaller_tile_has_the_bits_of_a_larger(dtype):
    """So it makes no difference which pixels share a tile; and a sum is what it is, to one rounding."""
    rng, in_python = np.random.default_rng(0), plain(operate)
    for _ in range(20):
        arguments = draw(rng, dtype, lambda rng, size: rng.normal(size=size))
        found, exact = (run(function, arguments)[FRAME:][: TILES * RESULTS * ROW] for function in (operate, in_python))
        np.testing.assert_allclose(found, exact, rtol=0, atol=20 * np.finfo(dtype).eps)
        large, few, half = np.split(found.reshape(TILES, RESULTS, PIXELS, CHANNELS)[:8], (3, 6))
        np.testing.assert_array_equal(few[:, :, :FEW], large[:, :, :FEW])
        np.testing.assert_array_equal(half[0, ..., :HALF], large[2, ..., :HALF])
        np.testing.assert_array_equal(half[1, :, :FEW, :HALF], large[2, :, :FEW, :HALF])


def _multiply(x, w, y, overwrite, out, out_of_columns):
    product(x, w, overwrite, out)
    product_of_columns(x, y, overwrite, out_of_columns)


multiply = numba.njit(_multiply)


def test_products_of_matrices():
    """Of any shape, put or added, in frames of NaN; plain and compiled."""
    rng = np.random.default_rng(0)
    for k in range(60):
        P, C, M = (int(n) for n in rng.integers(1, (30, 20, 60)))
        shapes = (P, C), (C, M), (P, M), (P, M), (C, M)
        for function in (multiply, plain(multiply)) if k < 15 else (multiply,):
            framed = [np.full(2 * FRAME + rows * columns, np.nan) for rows, columns in shapes]
            arrays = [whole[FRAME:-FRAME].reshape(shape) for whole, shape in zip(framed, shapes, strict=True)]
            for a in arrays:
                a[:] = rng.normal(size=a.shape)
            x, w, y, out, out_of_columns = arrays
            overwrite, added = bool(k % 2), (0, 0) if k % 2 else (out, out_of_columns)
            exact, exact_of_columns = x @ w + added[0], x.T @ y + added[1]
            function(x, w, y, overwrite, out, out_of_columns)
            np.testing.assert_allclose(out, exact, rtol=0, atol=1e-13)
            np.testing.assert_allclose(out_of_columns, exact_of_columns, rtol=0, atol=1e-13)
            for whole in framed:
                assert np.isnan(whole[:FRAME]).all() and np.isnan(whole[-FRAME:]).all()


# -- how the kernels are written


def test_numbers_that_depend_on_the_core_stand_in_one_file():
    """Kernels of an inference block have none but the sizes of the windows with code of their own, and ReLU6's 6."""
    for path in sorted((KERNELS / "inference_block").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
                assert node.value in range(7), (path.name, node.lineno, node.value)


def test_no_function_has_more_than_eight_parameters_or_sixty_lines():
    for path in sorted(KERNELS.rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef):
                given = function.args
                assert len(given.posonlyargs + given.args + given.kwonlyargs) <= 8, (path.name, function.name)
                assert function.end_lineno - function.lineno < 60, (path.name, function.name)
