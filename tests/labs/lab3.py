"""Lab 3: checks that are right, written in many ways, and a bank of checks that see too little."""

from labs.bank import Wrong, edited

NUMERICAL = """
import numpy as np

def numerical(loss, a, h=1e-6):
    grad = np.zeros_like(a)
    for k in np.ndindex(a.shape):
        old = a[k]
        a[k] = old + h
        up = loss()
        a[k] = old - h
        down = loss()
        a[k] = old
        grad[k] = (up - down) / (2 * h)
    return grad

def check(forward, backward):
    rng = np.random.default_rng(0)
    for stride, pad, H, W in ((1, 0, 6, 4), (2, 1, 7, 5), (1, 1, 4, 6)):
        x, w = rng.normal(size=(2, H, W, 3)), rng.normal(size=(3, 2, 3))
        dout = rng.normal(size=forward(x, w, stride, pad).shape)
        dx, dw = backward(dout, x, w, stride, pad)
        loss = lambda: np.sum(forward(x, w, stride, pad) * dout)
        for name, mine, a in (("dx", dx, x), ("dw", dw, w)):
            right = numerical(loss, a)
            error = np.abs(mine - right).max() / np.abs(right).max()
            if error > 1e-6:
                return f"{name} is wrong by {error:.1e} with stride {stride}, pad {pad}"
"""

LINEAR = """
import numpy as np

# forward is linear in x and in w, so unit vectors give the gradient exactly

def check(forward, backward):
    rng = np.random.default_rng(1)
    for stride in (1, 2, 3):
        for pad in (0, 1, 2):
            x, w = rng.normal(size=(2, 6, 5, 2)), rng.normal(size=(3, 3, 2))
            dout = rng.normal(size=forward(x, w, stride, pad).shape)
            dx, dw = backward(dout=dout, x=x, w=w, stride=stride, pad=pad)
            for k in np.ndindex(x.shape):
                unit = np.zeros(x.shape)
                unit[k] = 1
                if abs(np.vdot(forward(unit, w, stride, pad), dout) - dx[k]) > 1e-9:
                    return f"dx{list(k)} with stride {stride} and pad {pad}"
            for k in np.ndindex(w.shape):
                unit = np.zeros(w.shape)
                unit[k] = 1
                if abs(np.vdot(forward(x, unit, stride, pad), dout) - dw[k]) > 1e-9:
                    return f"dw{list(k)} with stride {stride} and pad {pad}"
    return None
"""

ADJOINT = """
import numpy as np

def check(forward, backward):
    rng = np.random.default_rng()
    for shape, kernel, stride, pad in (
        ((3, 7, 5, 2), (3, 2), 1, 0), ((2, 8, 5, 3), (3, 3), 2, 1), ((2, 5, 9, 2), (2, 3), 1, 2),
    ):
        x, w = rng.normal(size=shape), rng.normal(size=(*kernel, shape[3]))
        out = forward(x, w, stride, pad)
        dout = rng.normal(size=out.shape)
        dx, dw = backward(dout, x, w, stride, pad)
        for _ in range(5):
            dir_x, dir_w = rng.normal(size=x.shape), rng.normal(size=w.shape)
            if not np.isclose((forward(dir_x, w, stride, pad) * dout).sum(), (dx * dir_x).sum(), rtol=1e-8, atol=1e-8):
                return "dx"
            if not np.isclose((forward(x, dir_w, stride, pad) * dout).sum(), (dw * dir_w).sum(), rtol=1e-8, atol=1e-8):
                return "dw"
"""

COMPLEX = """
import numpy as np

def check(forward, backward):
    rng = np.random.default_rng(2)
    problems = []
    for stride, pad in ((1, 1), (2, 0)):
        x, w = rng.normal(size=(2, 6, 4, 2)), rng.normal(size=(3, 3, 2))
        dout = rng.normal(size=forward(x, w, stride, pad).shape)
        dx, dw = backward(dout, x, w, stride, pad)
        for which, a, d in ((0, x, dx), (1, w, dw)):
            right = np.empty(a.shape)
            for k in range(a.size):
                b = a.astype(complex)
                b.flat[k] += 1e-20j
                out = forward(b, w, stride, pad) if which == 0 else forward(x, b, stride, pad)
                right.flat[k] = (out * dout).sum().imag / 1e-20
            if not np.allclose(d, right):
                problems.append("dx dw".split()[which])
    return "wrong: " + ", ".join(problems) if problems else None
"""

OWN = """
import numpy as np

def mine(dout, x, w, s, p):
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    for n, y, b, c in np.ndindex(dout.shape):
        for i, j in np.ndindex(w.shape[:2]):
            r, q = s * y + i - p, s * b + j - p
            if 0 <= r < x.shape[1] and 0 <= q < x.shape[2]:
                dx[n, r, q, c] += dout[n, y, b, c] * w[i, j, c]
                dw[i, j, c] += dout[n, y, b, c] * x[n, r, q, c]
    return dx, dw

def check(forward, backward):
    rng = np.random.default_rng(3)
    for size in ((5, 3), (3, 5)):
        for s, p in ((1, 0), (2, 1), (1, 1)):
            x, w = rng.uniform(size=(2, *size, 2)), rng.uniform(size=(2, 3, 2))
            dout = rng.uniform(size=forward(x, w, s, p).shape)
            for a, b, name in zip(mine(dout, x, w, s, p), backward(dout, x, w, s, p), ("dx", "dw")):
                if np.max(np.abs(a - b)) > 1e-12 * np.max(np.abs(a)):
                    return name
"""

ONE_UNIT = """
import numpy as np

def check(forward, backward):
    rng = np.random.default_rng(4)
    for stride, pad in [(1, 0), (2, 1)]:
        x, w = rng.normal(size=(2, 5, 3, 2)), rng.normal(size=(3, 2, 2))
        shape = forward(x, w, stride, pad).shape
        for k in np.ndindex(shape):
            dout = np.zeros(shape)
            dout[k] = 1.0
            dx, dw = backward(dout, x, w, stride, pad)
            for a, grad in ((x, dx), (w, dw)):
                move = rng.normal(size=a.shape)
                new = forward(x + move, w, stride, pad) if a is x else forward(x, w + move, stride, pad)
                if not np.isclose((new - forward(x, w, stride, pad))[k], (grad * move).sum()):
                    return "wrong"
    return None
"""

RIGHT = {
    "central differences": NUMERICAL,
    "unit vectors": LINEAR,
    "adjoint": ADJOINT,
    "complex step": COMPLEX,
    "a backward of their own": OWN,
    "one output at a time": ONE_UNIT,
}


def _wrong(name, cause, *changes, of=NUMERICAL):
    return Wrong(name, cause, edited(of, *changes))


SHAPES = "((1, 0, 6, 4), (2, 1, 7, 5), (1, 1, 4, 6))"
DOUT = "rng.normal(size=forward(x, w, stride, pad).shape)"

# Written while the grader was.
FIRST = [
    _wrong("nothing is called", "never-called", ("    rng =", "    return None\n    rng =")),
    _wrong("stride 1 alone", "stride-never-2", (SHAPES, "((1, 0, 6, 4), (1, 1, 7, 5))")),
    _wrong("no padding", "padding-never", (SHAPES, "((1, 0, 6, 4), (2, 0, 7, 5))")),
    _wrong(
        "square images", "never-higher", (SHAPES, "((1, 0, 6, 6), (2, 1, 7, 7))"), ("size=(3, 2, 3)", "size=(3, 3, 3)")
    ),
    _wrong("one channel", "one-channel", ("(2, H, W, 3)", "(2, H, W, 1)"), ("(3, 2, 3)", "(3, 2, 1)")),
    _wrong("one image", "one-image", ("(2, H, W, 3)", "(1, H, W, 3)")),
    _wrong("dout of ones", "dout-constant", (DOUT, "np.ones(forward(x, w, stride, pad).shape)")),
    _wrong("weights of ones", "weights-alike", ("rng.normal(size=(3, 2, 3))", "np.ones((3, 2, 3))")),
    _wrong("one tap", "one-tap", ("(3, 2, 3)", "(1, 1, 3)")),
    _wrong("dx alone", "not-compared", ('(("dx", dx, x), ("dw", dw, w))', '(("dx", dx, x),)')),
    _wrong("dw alone", "not-compared", ('(("dx", dx, x), ("dw", dw, w))', '(("dw", dw, w),)')),
    _wrong("a loose bound", "tolerance-loose", ("error > 1e-6", "error > 1e-2")),
    _wrong("a bound that nothing meets", "rejects-the-right", ("error > 1e-6", "error > 1e-16")),
    _wrong("sums alone", "not-compared", ("np.abs(mine - right).max()", "abs(mine.sum() - right.sum())")),
    _wrong("always no", "rejects-the-right", ("    rng =", "    return 'wrong'\n    rng =")),
    _wrong("true and false", "wrong-type", ("    rng =", "    return True\n    rng =")),
]

# Written after the grader was done.
LATER = [
    _wrong(
        "no overlap",
        "no-overlap",
        (SHAPES, "((1, 0, 6, 4), (2, 1, 7, 5))"),
        ("(3, 2, 3)", "(1, 2, 3)"),
        ("(1, 0, 6, 4)", "(2, 0, 6, 4)"),
    ),
    _wrong(
        "dout of zeros",
        "dout-zero",
        (DOUT, "np.zeros(forward(x, w, stride, pad).shape)"),
        ("if error", "if error == error and error"),
    ),
    _wrong("random corner", "not-compared", ("np.abs(mine - right).max()", "abs(mine.flat[0] - right.flat[0])")),
    _wrong("signs alone", "not-compared", ("np.abs(mine - right).max()", "abs(np.sign(mine) - np.sign(right)).max()")),
    _wrong("forward differences", "rejects-the-right", ("error > 1e-6", "error > 1e-13")),
    _wrong("a step that is too small", "step-too-small", ("h=1e-6", "h=1e-15")),
    _wrong(
        "arguments in another order",
        "raises",
        ("backward(dout, x, w, stride, pad)", "backward(x, dout, w, stride, pad)"),
    ),
    _wrong("a number", "wrong-type", ("return f", "return error or f")),
    _wrong(
        "symmetric weights", "weights-alike", ("rng.normal(size=(3, 2, 3))", "np.ones((3, 2, 3)) * rng.normal(size=3)")
    ),
]
