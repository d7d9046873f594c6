"""A tile: sums of a few pixels and 16 channels, which stay in registers until they are complete.

A product of matrices and a depthwise convolution are one loop over such tiles, with one operator changed::

    tile = add_scaled(tile, x, at, offset, w, row)     # a value of each pixel times 16 weights:     1x1, and standard
    tile = add_products(tile, x, at, offset, w, row)   # 16 values of each pixel times 16 weights:   depthwise

Each function without an underscore is its plain version, in NumPy: a tile is an array (PIXELS, 16), x and w are flat,
`at` is the place in x of each pixel, and `offset` is added to all of them. Compiled code calls them by these names,
and Numba puts what is below them in their place: the NumPy is never compiled. Numba has no type for a register of
several values, nor does it keep an array in registers over a loop. So to compiled code a tile is a tuple of vectors,
one a pixel, and a function with an underscore below the plain one, or below several, writes the instructions for
LLVM, the compiler under Numba. LLVM splits a vector of 16 into as many registers as the core needs. All this is
Numba's documented low-level extension API.

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
HALF = 8  # channels of a narrower tile, likewise
CHANNELS = 16  # in float32 two registers of AVX2, one of AVX-512


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


INDEX = ir.IntType(64)


def _places_of(pixels: int) -> Any:
    return types.UniTuple(types.int64, pixels)


def _tile_of(dtype: Any, at: Any, channels: int = CHANNELS) -> Any:
    return types.UniTuple(Vector(dtype, channels), len(at))


def _pack(context: Any, builder: Any, signature: Any, values: list[Any]) -> Any:
    """The values computed for each pixel as one tuple."""
    found = ir.Constant(context.get_value_type(signature.return_type), ir.Undefined)
    for i, value in enumerate(values):
        found = builder.insert_value(found, value, i)
    return found


def _unpack(builder: Any, values: Any) -> list[Any]:
    return [builder.extract_value(values, i) for i in range(values.type.count)]


def _index(context: Any, builder: Any, signature: Any, arguments: Any, which: int) -> Any:
    """An integer argument, as 64 bits."""
    return context.cast(builder, arguments[which], signature.args[which], types.int64)


class _Flat:
    """An argument that is a flat array: its values as LLVM sees them."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any, which: int) -> None:
        kind = signature.args[which]
        self.builder, self.bytes = builder, kind.dtype.bitwidth // 8
        self.data = context.make_array(kind)(context, builder, arguments[which]).data

    def scalar(self, at: Any) -> Any:
        return self.builder.load(self.builder.gep(self.data, [at]))

    def _pointer(self, vector: Any, at: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(self.data, [at]), vector.as_pointer())

    def load(self, vector: Any, at: Any) -> Any:
        """Values in a row, as many as the vector has. They may begin anywhere."""
        value = self.builder.load(self._pointer(vector, at))
        value.align = self.bytes
        return value

    def store(self, value: Any, at: Any) -> None:
        self.builder.store(value, self._pointer(value.type, at)).align = self.bytes

    def spread(self, vector: Any, at: Any) -> Any:
        """One value, in every place of a vector."""
        none, first = ir.Constant(vector, ir.Undefined), ir.Constant(ir.IntType(32), 0)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None)
        return self.builder.shuffle_vector(self.builder.insert_element(none, self.scalar(at), first), none, zeros)


# Where the pixels of a tile lie.


def places(first, last, apart):
    """The places of PIXELS pixels from pixel `first` on; beyond `last` that of `last` again.

    apart: values from one pixel to the next, or an array of the places of all pixels.
    """
    pixels = np.minimum(first + np.arange(PIXELS), last)
    return apart[pixels] if isinstance(apart, np.ndarray) else pixels * apart


def few_places(first, last, apart):
    """The same for a smaller tile."""
    return places(first, last, apart)[:FEW]


@type_callable(places)
def _(context: Any) -> Callable[..., Any]:
    return lambda first, last, apart: _places_of(PIXELS)


@type_callable(few_places)
def _(context: Any) -> Callable[..., Any]:
    return lambda first, last, apart: _places_of(FEW)


@lower_builtin(places, types.Integer, types.Integer, types.Integer)
@lower_builtin(few_places, types.Integer, types.Integer, types.Integer)
def _places(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    stride, pixels = _index(context, builder, signature, arguments, 2), _until(context, builder, signature, arguments)
    return _pack(context, builder, signature, [builder.mul(p, stride) for p in pixels])


@lower_builtin(places, types.Integer, types.Integer, types.Array)
@lower_builtin(few_places, types.Integer, types.Integer, types.Array)
def _places_in(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    table, pixels = _Flat(context, builder, signature, arguments, 2), _until(context, builder, signature, arguments)
    return _pack(context, builder, signature, [table.scalar(p) for p in pixels])


def _until(context: Any, builder: Any, signature: Any, arguments: Any) -> list[Any]:
    """The numbers of a tile's pixels: from the first argument on, but none above the second."""
    first, last = (_index(context, builder, signature, arguments, k) for k in range(2))
    pixels = [builder.add(first, INDEX(i)) for i in range(len(signature.return_type))]
    return [builder.select(builder.icmp_signed("<", p, last), p, last) for p in pixels]


def three_places(first, stride):
    """Of three pixels: the taps of a row of a 3x3 kernel, each of which then has a sum."""
    return (first + np.arange(3)) * stride


def five_places(first, stride):
    """Of five."""
    return (first + np.arange(5)) * stride


def neighbours(first, stride):
    """The places of PIXELS pixels that all exist. Without `last` the compiler sees what windows side by side share."""
    return (first + np.arange(PIXELS)) * stride


@type_callable(neighbours)
def _(context: Any) -> Callable[..., Any]:
    return lambda first, stride: _places_of(PIXELS)


@type_callable(three_places)
def _(context: Any) -> Callable[..., Any]:
    return lambda first, stride: _places_of(3)


@type_callable(five_places)
def _(context: Any) -> Callable[..., Any]:
    return lambda first, stride: _places_of(5)


@lower_builtin(three_places, types.Integer, types.Integer)
@lower_builtin(five_places, types.Integer, types.Integer)
@lower_builtin(neighbours, types.Integer, types.Integer)
def _neighbours(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    first, stride = (_index(context, builder, signature, arguments, k) for k in range(2))
    first = builder.mul(first, stride)
    steps = [builder.mul(stride, INDEX(i)) for i in range(len(signature.return_type))]
    return _pack(context, builder, signature, [builder.add(first, step) for step in steps])


# What is done with a tile.


def spread(b, m, at):
    """A tile with b[m : m + 16] in each pixel; as many pixels as places."""
    return np.tile(b[m : m + CHANNELS], (len(at), 1))


def zeros(like, at):
    """A tile of zeros in the dtype of `like`; as many pixels as places."""
    return np.zeros((len(at), CHANNELS), like.dtype)


def half_zeros(like, at):
    """The same of 8 channels."""
    return np.zeros((len(at), HALF), like.dtype)


@type_callable(spread)
def _(context: Any) -> Callable[..., Any]:
    return lambda b, m, at: _tile_of(b.dtype, at)


@type_callable(zeros)
def _(context: Any) -> Callable[..., Any]:
    return lambda like, at: _tile_of(like.dtype, at)


@type_callable(half_zeros)
def _(context: Any) -> Callable[..., Any]:
    return lambda like, at: _tile_of(like.dtype, at, HALF)


@lower_builtin(spread, types.Array, types.Integer, types.UniTuple)
def _spread(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    vector = context.get_value_type(signature.return_type.dtype)
    m = _index(context, builder, signature, arguments, 1)
    row = _Flat(context, builder, signature, arguments, 0).load(vector, m)
    return _pack(context, builder, signature, [row] * len(signature.return_type))


@lower_builtin(zeros, types.Array, types.UniTuple)
@lower_builtin(half_zeros, types.Array, types.UniTuple)
def _zeros(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return ir.Constant(context.get_value_type(signature.return_type), None)


def add_scaled(tile, x, at, offset, w, row):
    """Add a value of each pixel times w[row : row + 16]: what a matrix product does for one input channel."""
    return tile + x[at + offset][:, None] * w[row : row + tile.shape[1]]


def add_products(tile, x, at, offset, w, row):
    """Add 16 values of each pixel times w[row : row + 16]: what a depthwise convolution does for one tap."""
    return tile + x[(at + offset)[:, None] + np.arange(tile.shape[1])] * w[row : row + tile.shape[1]]


def add(tile, x, at, offset):
    """Add 16 values of each pixel."""
    return tile + x[(at + offset)[:, None] + np.arange(tile.shape[1])]


@type_callable(add_scaled)
@type_callable(add_products)
def _(context: Any) -> Callable[..., Any]:
    return lambda tile, x, at, offset, w, row: tile


@type_callable(add)
def _(context: Any) -> Callable[..., Any]:
    return lambda tile, x, at, offset: tile


TERMS = types.UniTuple, types.Array, types.UniTuple, types.Integer, types.Array, types.Integer


@lower_builtin(add_scaled, *TERMS)
def _add_scaled(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    x = _Flat(context, builder, signature, arguments, 1)
    return _add(context, builder, signature, arguments, x.spread)


@lower_builtin(add_products, *TERMS)
def _add_products(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    x = _Flat(context, builder, signature, arguments, 1)
    return _add(context, builder, signature, arguments, x.load)


@lower_builtin(add, *TERMS[:4])
def _add_values(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    x = _Flat(context, builder, signature, arguments, 1)
    return _add(context, builder, signature, arguments, x.load)


def _add(context: Any, builder: Any, signature: Any, arguments: Any, load: Callable[[Any, Any], Any]) -> Any:
    """Add to each pixel of a tile what `load` finds at its place, times weights if there are any: one multiply-add."""
    offset, found, fused = _index(context, builder, signature, arguments, 3), [], ("contract",)
    for sums, at in zip(_unpack(builder, arguments[0]), _unpack(builder, arguments[2]), strict=True):
        term = load(sums.type, builder.add(at, offset))
        if len(arguments) > 4:
            weights = _Flat(context, builder, signature, arguments, 4)
            w = weights.load(sums.type, _index(context, builder, signature, arguments, 5))
            term = builder.fmul(term, w, flags=fused)
        found.append(builder.fadd(sums, term, flags=fused))
    return _pack(context, builder, signature, found)


def fetch(w, row):
    """Ask for w[row : row + 16], which will be wanted soon, from the far end of the caches. It may lie beyond w."""


@type_callable(fetch)
def _(context: Any) -> Callable[..., Any]:
    return lambda w, row: types.none


@lower_builtin(fetch, types.Array, types.Integer)
def _fetch(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    w, row = _Flat(context, builder, signature, arguments, 0), _index(context, builder, signature, arguments, 1)
    number, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
    rule = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
    prefetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer], rule)
    read, to_second_level, data = number(0), number(2), number(1)
    builder.call(prefetch, [builder.bitcast(builder.gep(w.data, [row]), pointer), read, to_second_level, data])
    return context.get_dummy_value()


def clip(tile):
    """ReLU6. NaN stays NaN."""
    return np.clip(tile, 0, 6)


@type_callable(clip)
def _(context: Any) -> Callable[..., Any]:
    return lambda tile: tile


@lower_builtin(clip, types.UniTuple)
def _clip(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    kind, found = context.get_value_type(signature.return_type.dtype), []
    zero, six = ir.Constant(kind, [0.0] * kind.count), ir.Constant(kind, [6.0] * kind.count)
    for value in _unpack(builder, arguments[0]):
        value = builder.select(builder.fcmp_ordered("<", value, zero), zero, value)
        found.append(builder.select(builder.fcmp_ordered(">", value, six), six, value))
    return _pack(context, builder, signature, found)


def let_through(tile, h, at, offset):
    """The backward of ReLU6: 0 where 16 values of each pixel of h are its bounds. NaN lets through."""
    bounded = h[(at + offset)[:, None] + np.arange(tile.shape[1])]
    return np.where((bounded <= 0) | (bounded >= 6), 0, tile)


@type_callable(let_through)
def _(context: Any) -> Callable[..., Any]:
    return lambda tile, h, at, offset: tile


@lower_builtin(let_through, *TERMS[:4])
def _let_through(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    h, offset = _Flat(context, builder, signature, arguments, 1), _index(context, builder, signature, arguments, 3)
    kind, found = context.get_value_type(signature.return_type.dtype), []
    zero, six = ir.Constant(kind, [0.0] * kind.count), ir.Constant(kind, [6.0] * kind.count)
    for value, at in zip(_unpack(builder, arguments[0]), _unpack(builder, arguments[2]), strict=True):
        bounded = h.load(kind, builder.add(at, offset))
        outside = builder.or_(builder.fcmp_ordered("<=", bounded, zero), builder.fcmp_ordered(">=", bounded, six))
        found.append(builder.select(outside, zero, value))
    return _pack(context, builder, signature, found)


def put(tile, out, at, offset):
    """Store 16 values of each pixel."""
    out[(at + offset)[:, None] + np.arange(tile.shape[1])] = tile


@type_callable(put)
def _(context: Any) -> Callable[..., Any]:
    return lambda tile, out, at, offset: types.none


@lower_builtin(put, *TERMS[:4])
def _put(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    out, offset = _Flat(context, builder, signature, arguments, 1), _index(context, builder, signature, arguments, 3)
    for value, at in zip(_unpack(builder, arguments[0]), _unpack(builder, arguments[2]), strict=True):
        out.store(value, builder.add(at, offset))
    return context.get_dummy_value()
