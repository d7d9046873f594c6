"""Lab 4: right solutions written in many ways, and a bank of mistakes that are really made."""

from labs.bank import Wrong, edited

STEPS = """
import numpy as np

def batchnorm_backward(dout, x, gamma, eps):
    axes = tuple(range(x.ndim - 1))
    m = x.size // x.shape[-1]
    mean = x.sum(axis=axes) / m
    centered = x - mean
    var = (centered * centered).sum(axis=axes) / m
    std = np.sqrt(var + eps)
    inv_std = 1 / std
    xhat = centered * inv_std

    dbeta = dout.sum(axis=axes)
    dgamma = (dout * xhat).sum(axis=axes)
    dxhat = dout * gamma
    dcentered = dxhat * inv_std
    dinv_std = (dxhat * centered).sum(axis=axes)
    dstd = -dinv_std / std**2
    dvar = dstd / (2 * std)
    dsquared = dvar / m
    dcentered = dcentered + 2 * centered * dsquared
    dmean = -dcentered.sum(axis=axes)
    dx = dcentered + dmean / m
    return dx, dgamma, dbeta
"""

CLOSED = """
import numpy as np

def batchnorm_backward(dout, x, gamma, eps):
    axes = tuple(range(x.ndim - 1))
    m = x.size // x.shape[-1]
    mean, var = x.mean(axis=axes), x.var(axis=axes)
    inv_std = 1 / np.sqrt(var + eps)
    xhat = (x - mean) * inv_std
    dbeta = dout.sum(axis=axes)
    dgamma = (dout * xhat).sum(axis=axes)
    dx = gamma * inv_std * (dout - dbeta / m - xhat * dgamma / m)
    return dx, dgamma, dbeta
"""

PAPER = """
import numpy as np

def batchnorm_backward(dout, x, gamma, eps):
    # the formulas of the paper, in rows
    shape, C = x.shape, x.shape[-1]
    x, dout = x.reshape(-1, C), dout.reshape(-1, C)
    m = len(x)
    mu = x.mean(0)
    var = x.var(0) + eps
    dxhat = dout * gamma
    dvar = np.sum(dxhat * (x - mu) * -0.5 * var**-1.5, axis=0)
    dmu = np.sum(-dxhat / np.sqrt(var), axis=0) + dvar * np.sum(-2 * (x - mu), axis=0) / m
    dx = dxhat / np.sqrt(var) + dvar * 2 * (x - mu) / m + dmu / m
    xhat = (x - mu) / np.sqrt(var)
    return dx.reshape(shape), np.sum(dout * xhat, axis=0), np.sum(dout, axis=0)
"""

LOOPS = """
import numpy as np

def one(g, x, gamma, eps):
    m = len(x)
    mean = sum(x) / m
    var = sum((v - mean) ** 2 for v in x) / m
    std = (var + eps) ** 0.5
    xhat = [(v - mean) / std for v in x]
    b = sum(g)
    a = sum(p * q for p, q in zip(g, xhat))
    return [gamma / std / m * (m * p - b - h * a) for p, h in zip(g, xhat)], a, b

def batchnorm_backward(dout, x, gamma, eps):
    dx, dgamma, dbeta = np.zeros_like(x), np.zeros_like(gamma), np.zeros_like(gamma)
    for c in range(x.shape[-1]):
        back, dgamma[c], dbeta[c] = one(dout[..., c].ravel(), x[..., c].ravel(), gamma[c], eps)
        dx[..., c] = np.reshape(back, x.shape[:-1])
    return dx, dgamma, dbeta
"""

PROJECTION = """
import numpy as np

def batchnorm_backward(dout, x, gamma, eps):
    # a matrix a channel
    C = x.shape[-1]
    rows, g = x.reshape(-1, C), dout.reshape(-1, C)
    m = rows.shape[0]
    centre = np.eye(m) - np.full((m, m), 1 / m)
    back, dgamma = np.empty_like(rows), np.empty_like(gamma)
    for c in range(C):
        centered = centre @ rows[:, c]
        std = np.sqrt(centered @ centered / m + eps)
        h = centered / std
        back[:, c] = gamma[c] / std * (centre @ (g[:, c] - h * (h @ g[:, c]) / m))
        dgamma[c] = h @ g[:, c]
    return back.reshape(x.shape), dgamma, g.sum(0)
"""

EINSUM = """
from numpy import einsum, sqrt

def batchnorm_backward(dout, x, gamma, eps):
    m = x.size / x.shape[-1]
    s = {2: "", 4: "yx"}[x.ndim]
    mean = einsum(f"n{s}c->c", x) / m
    d = x - mean
    variance = einsum(f"n{s}c,n{s}c->c", d, d) / m + eps
    along = einsum(f"n{s}c,n{s}c->c", dout, d)
    dbeta = einsum(f"n{s}c->c", dout)
    dx = (gamma / sqrt(variance)) * (dout - dbeta / m - d * (along / (m * variance)))
    return dx.astype(x.dtype), along / sqrt(variance), dbeta
"""

MOVED = """
import numpy as np

class BatchNorm:
    def __init__(self, x, eps):
        self.planes = np.moveaxis(x, -1, 0).reshape(x.shape[-1], -1)
        self.m = self.planes.shape[1]
        # by the mean of squares
        self.mean = self.planes.mean(1, keepdims=True)
        self.var = (self.planes**2).mean(1, keepdims=True) - self.mean**2
        self.std = (self.var + eps) ** 0.5
        self.hat = (self.planes - self.mean) / self.std

    def backward(self, g, gamma):
        h = g * gamma[:, None]
        return (h - h.mean(1, keepdims=True) - self.hat * (h * self.hat).mean(1, keepdims=True)) / self.std

def batchnorm_backward(dout, x, gamma, eps):
    norm = BatchNorm(x.astype(np.float64), eps)
    g = np.moveaxis(dout, -1, 0).reshape(x.shape[-1], -1)
    dx = norm.backward(g, gamma).reshape(x.shape[-1:] + x.shape[:-1])
    return np.moveaxis(dx, 0, -1).astype(x.dtype), (g * norm.hat).sum(1).astype(x.dtype), g.sum(1)
"""

RIGHT = {
    "one operation a line": STEPS,
    "closed form": CLOSED,
    "the paper's formulas": PAPER,
    "loops": LOOPS,
    "a matrix a channel": PROJECTION,
    "einsum": EINSUM,
    "channels first, and a class": MOVED,
}


def _wrong(name, cause, *changes, of=STEPS):
    return Wrong(name, cause, edited(of, *changes))


CLOSED_DX = "gamma * inv_std * (dout - dbeta / m - xhat * dgamma / m)"

# Written while the grader was.
FIRST = [
    _wrong("no mean term", "mean-term-missing", ("dx = dcentered + dmean / m", "dx = dcentered")),
    _wrong("no variance term", "variance-term-missing", ("    dcentered = dcentered + 2 * centered * dsquared\n", "")),
    _wrong("frozen", "statistics-constant", (CLOSED_DX, "gamma * inv_std * dout"), of=CLOSED),
    _wrong("m - 1 in the variance", "count-minus-one", ("x.var(axis=axes)", "x.var(axis=axes, ddof=1)"), of=CLOSED),
    _wrong("m - 1 in the mean term", "count-minus-one", ("dmean / m", "dmean / (m - 1)")),
    _wrong("variance for its root", "variance-for-root", ("1 / np.sqrt(var + eps)", "1 / (var + eps)"), of=CLOSED),
    _wrong("eps outside the root", "eps-outside", ("np.sqrt(var + eps)", "(np.sqrt(var) + eps)"), of=CLOSED),
    _wrong("eps missing", "eps-missing", ("np.sqrt(var + eps)", "np.sqrt(var)")),
    _wrong("eps missing in dx alone", "eps-missing", ("gamma * inv_std *", "gamma / np.sqrt(var) *"), of=CLOSED),
    _wrong("gamma forgotten", "gamma-forgotten", ("dxhat = dout * gamma", "dxhat = dout")),
    _wrong("gamma forgotten in a term", "gamma-forgotten", ("(dxhat * centered)", "(dout * centered)")),
    _wrong("dgamma and dbeta swapped", "exchanged", ("return dx, dgamma, dbeta", "return dx, dbeta, dgamma")),
    _wrong(
        "the sums swapped in dx",
        "sums-exchanged",
        (CLOSED_DX, "gamma * inv_std * (dout - dgamma / m - xhat * dbeta / m)"),
        of=CLOSED,
    ),
    _wrong("x for xhat in dgamma", "not-normalised", ("dgamma = (dout * xhat)", "dgamma = (dout * x)")),
    _wrong("x - mean for xhat in dgamma", "not-normalised", ("dgamma = (dout * xhat)", "dgamma = (dout * centered)")),
    _wrong("x for x - mean in the sum", "not-centred", ("(dxhat * centered)", "(dxhat * x)")),
    _wrong("one axis only", "axes-left", ("tuple(range(x.ndim - 1))", "0")),
    _wrong("the last axis too", "wrong-type", ("tuple(range(x.ndim - 1))", "tuple(range(x.ndim))")),
    _wrong("the square's 2 forgotten", "variance-term-factor", ("2 * centered * dsquared", "centered * dsquared")),
    _wrong("the root's half forgotten", "variance-term-factor", ("dstd / (2 * std)", "dstd / std")),
    _wrong("the sign of 1 / std", "sign", ("dstd = -dinv_std / std**2", "dstd = dinv_std / std**2")),
    _wrong("the mean added", "sign", ("dmean = -dcentered", "dmean = dcentered")),
    _wrong("std once for twice", "std-power", ("-dinv_std / std**2", "-dinv_std / std")),
    _wrong("sums as means", "averaged", ("dbeta = dout.sum", "dbeta = dout.mean")),
]

# Written after the grader was done. On the first run all were named as expected; two of them, then, as unexplained.
LATER = [
    _wrong("the paper's dvar with -1/2", "std-power", ("var**-1.5", "var**-0.5"), of=PAPER),
    _wrong("the paper's dvar without -1/2", "variance-term-factor", ("* -0.5 * var", "* var"), of=PAPER),
    _wrong("the paper's dmu without a minus", "sign", ("np.sum(-dxhat /", "np.sum(dxhat /"), of=PAPER),
    _wrong("dmu left out", "mean-term-missing", (" + dmu / m", ""), of=PAPER),
    _wrong("dmu without / m", "count-wrong", ("+ dmu / m", "+ dmu"), of=PAPER),
    _wrong("dvar without / m", "count-wrong", ("(x - mu) / m + dmu", "(x - mu) + dmu"), of=PAPER),
    _wrong("eps forgotten", "eps-missing", ("x.var(0) + eps", "x.var(0)"), of=PAPER),
    _wrong("x for x - mu in dx", "not-centred", ("dvar * 2 * (x - mu) / m", "dvar * 2 * x / m"), of=PAPER),
    _wrong("x for x - mu in dvar", "not-centred", ("dxhat * (x - mu) * -0.5", "dxhat * x * -0.5"), of=PAPER),
    _wrong("dgamma with dxhat", "gamma-extra", ("np.sum(dout * xhat", "np.sum(dxhat * xhat"), of=PAPER),
    _wrong("gamma in the sums as well", "gamma-extra", ("dgamma / m)", "dgamma * gamma / m)"), of=CLOSED),
    _wrong("gamma forgotten in closed form", "gamma-forgotten", ("gamma * inv_std * (", "inv_std * ("), of=CLOSED),
    _wrong("inv_std forgotten", "std-power", ("gamma * inv_std * (", "gamma * ("), of=CLOSED),
    _wrong(
        "m for both sums forgotten",
        "count-wrong",
        (CLOSED_DX, "gamma * inv_std * (dout - dbeta - xhat * dgamma)"),
        of=CLOSED,
    ),
    _wrong("m is the number of images", "count-wrong", ("m = x.size // x.shape[-1]", "m = x.shape[0]"), of=CLOSED),
    _wrong("m is all of x", "count-wrong", ("m = x.size // x.shape[-1]", "m = x.size"), of=CLOSED),
    _wrong("everything over m", "averaged", ("gamma * inv_std * (", "gamma * inv_std / m * ("), of=CLOSED),
    _wrong("m times dout is not divided", "factor", ("gamma / std / m *", "gamma / std *"), of=LOOPS),
    _wrong("xhat forgotten in the last term", "xhat-forgotten", ("- xhat * dgamma / m", "- dgamma / m"), of=CLOSED),
    _wrong("x for xhat in the last term", "not-centred", ("- xhat * dgamma / m", "- x * dgamma / m"), of=CLOSED),
    _wrong(
        "one mean for all channels",
        "axes-wrong",
        ("x.mean(axis=axes), x.var(axis=axes)", "x.mean(), x.var()"),
        of=CLOSED,
    ),
    _wrong(
        "layer norm",
        "statistics-mix-channels",
        ("- h.mean(1, keepdims=True)", "- h.mean()"),
        of=MOVED,
    ),
    _wrong(
        "statistics over images alone",
        "axes-wrong",
        ("x.mean(axis=axes), x.var(axis=axes)", "x.mean(axis=0), x.var(axis=0)"),
        of=CLOSED,
    ),
    _wrong("mean of dout over images alone", "axes-wrong", ("dbeta / m", "dout.mean(0)"), of=CLOSED),
    _wrong(
        "running statistics of zero and one",
        "not-normalised",
        ("x.mean(axis=axes), x.var(axis=axes)", "np.zeros(x.shape[-1]), np.ones(x.shape[-1])"),
        of=CLOSED,
    ),
    _wrong("the variance of all", "axes-wrong", ("x.var(axis=axes)", "x.var()"), of=CLOSED),
    _wrong("not the direct term", "direct-term-missing", ("dcentered = dxhat * inv_std", "dcentered = 0 * dxhat")),
    _wrong("the variance's term twice", "variance-term-factor", ("2 * centered", "4 * centered")),
    _wrong("the mean's term twice", "mean-term-factor", ("dmean / m", "2 * dmean / m")),
    _wrong("dout changed", "input-changed", ("    dxhat = dout * gamma", "    dout *= gamma\n    dxhat = dout")),
    _wrong("dout squared", "not-linear-in-dout", ("dxhat = dout * gamma", "dxhat = dout * dout * gamma")),
    _wrong("keepdims", "wrong-shape", ("dbeta = dout.sum(axis=axes)", "dbeta = dout.sum(axis=axes, keepdims=True)")),
    _wrong("images alone", "raises", ("tuple(range(x.ndim - 1))", "(0, 1, 2)")),
    _wrong("dgamma is a mean", "averaged", ("dgamma = (dout * xhat).sum", "dgamma = (dout * xhat).mean")),
    _wrong("dx of xhat", "unexplained", ("dcentered = dxhat * inv_std", "dcentered = dxhat * inv_std + xhat * dxhat")),
    _wrong("two at once", "mean-term-missing", ("+ dmean / m", ""), ("2 * centered", "centered")),
    _wrong("float32 inside", "precision", ("dxhat = dout * gamma", "dxhat = (dout * gamma).astype(np.float32)")),
]
