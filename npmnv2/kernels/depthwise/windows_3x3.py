"""What the loops of a 3x3 filter share: neighbouring windows, or the gradients that they see, in registers at once.

Four windows side by side at stride 1 see six columns, where one by one they would load twelve. The plain version, one
pixel after another, is `loops_3x3._border_row` and `loops_3x3_backward._pixel`.
"""

from npmnv2.kernels.jit import compile_inline, compile_scalar


@compile_scalar
def next_four(x, n, y, xx, c):
    """Four neighbours in row y of image n."""
    return x[n, y, xx, c], x[n, y, xx + 1, c], x[n, y, xx + 2, c], x[n, y, xx + 3, c]


@compile_scalar
def next_six(x, n, y, xx, c):
    """Six neighbours in row y of image n: what one row of four windows sees."""
    a0, a1, a2 = x[n, y, xx, c], x[n, y, xx + 1, c], x[n, y, xx + 2, c]
    return a0, a1, a2, x[n, y, xx + 3, c], x[n, y, xx + 4, c], x[n, y, xx + 5, c]


@compile_scalar
def next_nine(x, n, y, xx, c):
    """Nine neighbours in row y of image n: what one row of four windows sees at stride 2."""
    a0, a1, a2 = x[n, y, xx, c], x[n, y, xx + 1, c], x[n, y, xx + 2, c]
    a3, a4, a5 = x[n, y, xx + 3, c], x[n, y, xx + 4, c], x[n, y, xx + 5, c]
    return a0, a1, a2, a3, a4, a5, x[n, y, xx + 6, c], x[n, y, xx + 7, c], x[n, y, xx + 8, c]


@compile_scalar
def four(a, w0, w1, w2, s):
    """Add to the sums `s` one kernel row of four neighbouring windows at stride 1; a: `next_six`."""
    return (
        s[0] + a[0] * w0 + a[1] * w1 + a[2] * w2,
        s[1] + a[1] * w0 + a[2] * w1 + a[3] * w2,
        s[2] + a[2] * w0 + a[3] * w1 + a[4] * w2,
        s[3] + a[3] * w0 + a[4] * w1 + a[5] * w2,
    )


@compile_scalar
def four_by_two(a, w0, w1, w2, s):
    """Add to the sums `s` one kernel row of four neighbouring windows at stride 2; a: `next_nine`."""
    return (
        s[0] + a[0] * w0 + a[1] * w1 + a[2] * w2,
        s[1] + a[2] * w0 + a[3] * w1 + a[4] * w2,
        s[2] + a[4] * w0 + a[5] * w1 + a[6] * w2,
        s[3] + a[6] * w0 + a[7] * w1 + a[8] * w2,
    )


@compile_scalar
def three(a, b, s):
    """Add to the sums `s` four neighbouring pixels `b` times the gradients that taps 2, 1 and 0 of a row see.

    a: `next_six` of the gradient of the output.
    """
    return (
        s[0] + a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3],
        s[1] + a[1] * b[0] + a[2] * b[1] + a[3] * b[2] + a[4] * b[3],
        s[2] + a[2] * b[0] + a[3] * b[1] + a[4] * b[2] + a[5] * b[3],
    )


@compile_scalar
def add_nine(dw, slot, g0, g1, g2, c):
    """Add to dw[slot] the sums of the three kernel rows, each from tap 2 to tap 0, as `three` has them."""
    dw[slot, 0, 2, c] += g0[0]
    dw[slot, 0, 1, c] += g0[1]
    dw[slot, 0, 0, c] += g0[2]
    dw[slot, 1, 2, c] += g1[0]
    dw[slot, 1, 1, c] += g1[1]
    dw[slot, 1, 0, c] += g1[2]
    dw[slot, 2, 2, c] += g2[0]
    dw[slot, 2, 1, c] += g2[1]
    dw[slot, 2, 0, c] += g2[2]


@compile_inline
def two_rows(x, w, seen, out, to):
    """A block of the forward at stride 1: two rows of four pixels of `out`, from four rows by six columns of x.

    `seen` and `to` are where they begin: image, row and column.
    """
    (n, y, xx), (m, oy, ox), zero = seen, to, x.dtype.type(0)
    for c in range(x.shape[3]):
        w00, w01, w02 = w[0, 0, c], w[0, 1, c], w[0, 2, c]
        w10, w11, w12 = w[1, 0, c], w[1, 1, c], w[1, 2, c]
        w20, w21, w22 = w[2, 0, c], w[2, 1, c], w[2, 2, c]
        s = t = (zero, zero, zero, zero)
        a = next_six(x, n, y, xx, c)
        s = four(a, w00, w01, w02, s)
        a = next_six(x, n, y + 1, xx, c)
        s, t = four(a, w10, w11, w12, s), four(a, w00, w01, w02, t)
        a = next_six(x, n, y + 2, xx, c)
        s, t = four(a, w20, w21, w22, s), four(a, w10, w11, w12, t)
        a = next_six(x, n, y + 3, xx, c)
        t = four(a, w20, w21, w22, t)
        out[m, oy, ox, c], out[m, oy, ox + 1, c], out[m, oy, ox + 2, c], out[m, oy, ox + 3, c] = s
        (
            out[m, oy + 1, ox, c],
            out[m, oy + 1, ox + 1, c],
            out[m, oy + 1, ox + 2, c],
            out[m, oy + 1, ox + 3, c],
        ) = t
