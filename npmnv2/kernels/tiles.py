"""A tile: sums of a few pixels and 16 channels, which stay in registers until they are complete.

A product of matrices and a depthwise convolution are one loop over such tiles, with one operator changed::

    tile = add_scaled(tile, x, at, offset, w, row)     # a value of each pixel times 16 weights:     1x1, and standard
    tile = add_products(tile, x, at, offset, w, row)   # 16 values of each pixel times 16 weights:   depthwise

Each function here without an underscore is the plain version, in NumPy, of the `_` below it: a tile is an array
(PIXELS, 16), x and w are flat, `at` is the place in x of each pixel, and `offset` is added to all of them. Compiled
code calls them by these names, and Numba puts what is below them in their place: the NumPy is never compiled. Numba has
no type for a register of several values, nor does it keep an array in registers over a loop. So to compiled code a tile
is a tuple of vectors, one a pixel, and what is below a plain version writes the instructions for LLVM, the compiler
under Numba. LLVM splits a vector of 16 into as many registers as the core needs. All this is Numba's documented
low-level extension API.

docs/fusion.md has both loops in NumPy, and says why registers decide.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, models, register_model, type_callable

from npmnv2.kernels.tuning import TUNING

PIXELS = TUNING.pixels
FEW = 4  # pixels of a smaller tile, for up to four that are left over
CHANNELS = 16  # in float32 two registers of AVX2, one of AVX-512
HALF = 8  # channels of a narrower tile, for what is left over


class Vector(types.Type):  # type: ignore[misc]  # Numba has no types
    """To Numba, some values of a dtype in registers."""

    def __init__(self, dtype: Any, length: int) -> None:
        self.dtype, self.length = dtype, length
        super().__init__(name=f"Vector({dtype}, {length})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, vector: Vector) -> None:
        scalar = ir.FloatType() if vector.dtype == types.float32 else ir.DoubleType()
        super().__init__(manager, vector, ir.VectorType(scalar, vector.length))


class _Flat:
    """An argument that is a flat array: its values as LLVM sees them."""

    def __init__(self, builder: Any, data: Any, itemsize: int) -> None:
        self.builder, self.data, self.itemsize = builder, data, itemsize

    def pointer(self, kind: Any, at: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(self.data, [at]), kind.as_pointer())

    def scalar(self, at: Any) -> Any:
        return self.builder.load(self.builder.gep(self.data, [at]))

    def load(self, vector: Any, at: Any) -> Any:
        """Values in a row, as many as the vector has. They may begin anywhere."""
        value = self.builder.load(self.pointer(vector, at))
        value.align = self.itemsize
        return value

    def store(self, value: Any, at: Any) -> None:
        self.builder.store(value, self.pointer(value.type, at)).align = self.itemsize

    def broadcast(self, vector: Any, at: Any) -> Any:
        """One value, in every place of a vector."""
        none, first = ir.Constant(vector, ir.Undefined), ir.Constant(ir.IntType(32), 0)
        order = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None)
        return self.builder.shuffle_vector(self.builder.insert_element(none, self.scalar(at), first), none, order)


def _argument(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """An argument as instructions take it: an array as `_Flat`, a tuple as a list, a number in 64 bits."""
    if isinstance(kind, types.Array):
        return _Flat(builder, context.make_array(kind)(context, builder, value).data, kind.dtype.bitwidth // 8)
    if isinstance(kind, types.UniTuple):
        return [builder.extract_value(value, i) for i in range(kind.count)]
    return context.cast(builder, value, kind, types.int64)


def _in_place_of(plain: Callable[..., Any], type_of: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator: what writes the instructions that stand in the place of a plain function in compiled code.

    type_of: from the types of the arguments that of the result, or None while Numba has not said what a number is.
    What is decorated is given LLVM's builder, the type of the result and the arguments, and returns the values of the
    result, which is a tuple, or None.
    """

    def register(write: Callable[..., Any]) -> Callable[..., Any]:
        def lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            result = context.get_value_type(signature.return_type)
            pairs = zip(signature.args, arguments, strict=True)
            values = write(builder, result, *(_argument(context, builder, kind, value) for kind, value in pairs))
            if values is None:
                return context.get_dummy_value()
            packed = ir.Constant(result, ir.Undefined)
            for i, value in enumerate(values):
                packed = builder.insert_value(packed, value, i)
            return packed

        type_callable(plain)(lambda context: type_of)
        lower_builtin(plain, types.VarArg(types.Any))(lower)
        return write

    return register


def _places_of(pixels: Any) -> Any:
    return types.UniTuple(types.int64, pixels.literal_value) if isinstance(pixels, types.Literal) else None


def _tile_of(dtype: Any, at: Any, channels: Any) -> Any:
    is_known = isinstance(channels, types.Literal)
    return types.UniTuple(Vector(dtype, channels.literal_value), len(at)) if is_known else None


def _bounds(vector: Any) -> Any:
    """Those of ReLU6."""
    return ir.Constant(vector, [0.0] * vector.count), ir.Constant(vector, [6.0] * vector.count)


# Where the pixels of a tile lie. How many there are is a constant: PIXELS, FEW, or the taps of a row of a kernel.


def places(first, last, apart, pixels):
    """The places of so many pixels from pixel `first` on; beyond `last` that of `last` again.

    apart: values from one pixel to the next, or an array of the places of all pixels.
    """
    found = np.minimum(first + np.arange(pixels), last)
    return apart[found] if isinstance(apart, np.ndarray) else found * apart


@_in_place_of(places, lambda first, last, apart, pixels: _places_of(pixels))
def _(builder: Any, result: Any, first: Any, last: Any, apart: Any, pixels: Any) -> list[Any]:
    found = [builder.add(first, first.type(i)) for i in range(result.count)]
    found = [builder.select(builder.icmp_signed("<", p, last), p, last) for p in found]
    return [apart.scalar(p) if isinstance(apart, _Flat) else builder.mul(p, apart) for p in found]


def neighbours(first, apart, pixels):
    """The same of pixels that all exist. Without `last` the compiler sees what windows side by side share."""
    return (first + np.arange(pixels)) * apart


@_in_place_of(neighbours, lambda first, apart, pixels: _places_of(pixels))
def _(builder: Any, result: Any, first: Any, apart: Any, pixels: Any) -> list[Any]:
    first = builder.mul(first, apart)
    return [builder.add(first, builder.mul(apart, apart.type(i))) for i in range(result.count)]


# What is done with a tile.


def spread(b, m, at):
    """A tile with b[m : m + 16] in each pixel; as many pixels as places."""
    return np.tile(b[m : m + CHANNELS], (len(at), 1))


@_in_place_of(spread, lambda b, m, at: _tile_of(b.dtype, at, types.literal(CHANNELS)))
def _(builder: Any, result: Any, b: Any, m: Any, at: Any) -> list[Any]:
    return [b.load(result.element, m)] * result.count


def zeros(like, at, channels):
    """A tile of zeros in the dtype of `like`; as many pixels as places. channels: a constant, CHANNELS or HALF."""
    return np.zeros((len(at), channels), like.dtype)


@_in_place_of(zeros, lambda like, at, channels: _tile_of(like.dtype, at, channels))
def _(builder: Any, result: Any, like: Any, at: Any, channels: Any) -> list[Any]:
    return [ir.Constant(result.element, None)] * result.count


def _add(builder: Any, sums: Any, term: Any, w: Any = None) -> Any:
    """Their sum, or with weights sums + term * w, as one multiply-add where the core has it."""
    term = term if w is None else builder.fmul(term, w, flags=("contract",))
    return builder.fadd(sums, term, flags=("contract",))


def add_scaled(tile, x, at, offset, w, row):
    """Add a value of each pixel times w[row : row + 16]: what a matrix product does for one input channel."""
    return tile + x[at + offset][:, None] * w[row : row + tile.shape[1]]


@_in_place_of(add_scaled, lambda tile, x, at, offset, w, row: tile)
def _(builder: Any, result: Any, tile: Any, x: Any, at: Any, offset: Any, w: Any, row: Any) -> list[Any]:
    kind, weights = result.element, w.load(result.element, row)
    found = zip(tile, at, strict=True)
    return [_add(builder, sums, x.broadcast(kind, builder.add(p, offset)), weights) for sums, p in found]


def add_products(tile, x, at, offset, w, row):
    """Add 16 values of each pixel times w[row : row + 16]: what a depthwise convolution does for one tap."""
    return tile + x[(at + offset)[:, None] + np.arange(tile.shape[1])] * w[row : row + tile.shape[1]]


@_in_place_of(add_products, lambda tile, x, at, offset, w, row: tile)
def _(builder: Any, result: Any, tile: Any, x: Any, at: Any, offset: Any, w: Any, row: Any) -> list[Any]:
    kind, weights = result.element, w.load(result.element, row)
    found = zip(tile, at, strict=True)
    return [_add(builder, sums, x.load(kind, builder.add(p, offset)), weights) for sums, p in found]


def add(tile, x, at, offset):
    """Add 16 values of each pixel."""
    return tile + x[(at + offset)[:, None] + np.arange(tile.shape[1])]


@_in_place_of(add, lambda tile, x, at, offset: tile)
def _(builder: Any, result: Any, tile: Any, x: Any, at: Any, offset: Any) -> list[Any]:
    found = zip(tile, at, strict=True)
    return [_add(builder, sums, x.load(result.element, builder.add(p, offset))) for sums, p in found]


def fetch(w, row):
    """Ask for w[row : row + 16], which will be wanted soon, into the second-level cache. It may lie beyond w."""


@_in_place_of(fetch, lambda w, row: types.none)
def _(builder: Any, result: Any, w: Any, row: Any) -> None:
    number, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
    rule = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
    prefetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer], rule)
    read, to_second_level, data = number(0), number(2), number(1)
    builder.call(prefetch, [w.pointer(ir.IntType(8), row), read, to_second_level, data])


def clip(tile):
    """ReLU6. NaN stays NaN."""
    return np.clip(tile, 0, 6)


@_in_place_of(clip, lambda tile: tile)
def _(builder: Any, result: Any, tile: Any) -> list[Any]:
    zero, six = _bounds(result.element)
    tile = [builder.select(builder.fcmp_ordered("<", value, zero), zero, value) for value in tile]
    return [builder.select(builder.fcmp_ordered(">", value, six), six, value) for value in tile]


def let_through(tile, h, at, offset):
    """The backward of ReLU6: 0 where 16 values of each pixel of h are its bounds. NaN lets through."""
    bounded = h[(at + offset)[:, None] + np.arange(tile.shape[1])]
    return np.where((bounded <= 0) | (bounded >= 6), 0, tile)


@_in_place_of(let_through, lambda tile, h, at, offset: tile)
def _(builder: Any, result: Any, tile: Any, h: Any, at: Any, offset: Any) -> list[Any]:
    (zero, six), found = _bounds(result.element), []
    for value, p in zip(tile, at, strict=True):
        bounded = h.load(result.element, builder.add(p, offset))
        outside = builder.or_(builder.fcmp_ordered("<=", bounded, zero), builder.fcmp_ordered(">=", bounded, six))
        found.append(builder.select(outside, zero, value))
    return found


def put(tile, out, at, offset):
    """Store 16 values of each pixel."""
    out[(at + offset)[:, None] + np.arange(tile.shape[1])] = tile


@_in_place_of(put, lambda tile, out, at, offset: types.none)
def _(builder: Any, result: Any, tile: Any, out: Any, at: Any, offset: Any) -> None:
    for value, p in zip(tile, at, strict=True):
        out.store(value, builder.add(p, offset))
