"""All blocks of a network as one compiled call: a program, whose rows are calls of the kernels of `loops.py`.

It does what Python does when it calls the kernels one by one (`cutting.bind`). But Python spends 2 us on each: a tenth
of a small network's time.
"""

from numba import carray, types
from numba.extending import intrinsic

from npmnv2.kernels.inference_block.loops import add_up, by_channels, by_rows
from npmnv2.kernels.jit import compile_kernel, compile_scalar

KERNELS = (by_rows, by_channels, add_up)
BY_ROWS, ADD_UP = 0, 2  # places in KERNELS
NUMBERS, PLACES, ARRAYS = 15, 5, 12  # a row: which kernel and its numbers, then so many places for each of its arrays


@intrinsic
def _pointer(context, address):
    """An address as a pointer. Numba has no such cast: this writes LLVM's instruction."""

    def code(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), code


@compile_scalar
def _one(row, k, like):
    """Array k of a row, of one axis: its address and its shape, as `cutting.encode` wrote them. Below, of more axes."""
    at = NUMBERS + PLACES * k
    return carray(_pointer(row[at]), (row[at + 1],), like.dtype)


@compile_scalar
def _two(row, k, like):
    at = NUMBERS + PLACES * k
    return carray(_pointer(row[at]), (row[at + 1], row[at + 2]), like.dtype)


@compile_scalar
def _three(row, k, like):
    at = NUMBERS + PLACES * k
    return carray(_pointer(row[at]), (row[at + 1], row[at + 2], row[at + 3]), like.dtype)


@compile_scalar
def _four(row, k, like):
    at = NUMBERS + PLACES * k
    return carray(_pointer(row[at]), (row[at + 1], row[at + 2], row[at + 3], row[at + 4]), like.dtype)


def _run(program, x):
    """Make the calls that are the rows of `program`, see `cutting.encode`; x has the dtype of all arrays.

    program: (calls, NUMBERS + ARRAYS * PLACES) in int64. A row has the place of its kernel in `KERNELS`, then the
    numbers among the kernel's arguments, in their order, then the arrays.
    """
    for i in range(len(program)):
        r = program[i]
        if r[0] == ADD_UP:
            add_up(_four(r, 0, x), _one(r, 1, x), _three(r, 2, x), r[1] != 0, r[2] != 0, _three(r, 3, x))
            continue
        x_rows, bp, wide = _three(r, 0, x), _one(r, 6, x), _four(r, 7, x)
        we, be, wd, bd, wp = _three(r, 1, x), _two(r, 2, x), _four(r, 3, x), _two(r, 4, x), _three(r, 5, x)
        room, hidden, narrow, out = _three(r, 8, x), _three(r, 9, x), _three(r, 10, x), _four(r, 11, x)
        if r[0] == BY_ROWS:
            by_rows(
                r[1], x_rows, r[2], r[3], r[4], r[5], we, be, wd, bd, wp, bp, r[6] != 0, r[7] != 0, r[8], r[9], r[10],
                r[11], r[12], r[13], r[14], wide, room, hidden, narrow, out
            )  # fmt: skip
        else:
            by_channels(
                r[1], x_rows, we, be, wd, bd, wp, bp, r[2] != 0, r[3] != 0, r[4], r[5], r[6], r[7], r[8], r[9], r[10],
                r[11], r[12], wide, room, hidden, narrow, out
            )  # fmt: skip


run = compile_kernel(_run, contract=True)
