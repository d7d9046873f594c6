# the filter runs with stride 1 and the projection takes every second pixel, so the second batch norm takes its
# statistics over all pixels.
import numpy as np

# %% [markdown]
# ## The given ones: labs 1, 2 and 4
#
# Each backward takes dout, the gradient of what its forward returned, and the arguments of that forward.


# %%
def depthwise(x, w, stride):
    """Convolve each channel of x (N, H, W, E) with its own filter in w (3, 3, E), padding 1: out (N, OH, OW, E)."""
    N, H, W, E = x.shape
    xp = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    OH, OW = (H - 1) // stride + 1, (W - 1) // stride + 1
    out = np.zeros((N, OH, OW, E), x.dtype)
    for i in range(3):
        for j in range(3):
            out += xp[:, i : i + stride * OH : stride, j : j + stride * OW : stride] * w[i, j]
    return out


def depthwise_backward(dout, x, w, stride):
    """The gradients (dx, dw) of depthwise."""
    OH, OW = dout.shape[1:3]
    xp = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    dxp, dw = np.zeros_like(xp), np.zeros_like(w)
    for i in range(3):
        for j in range(3):
            seen = np.s_[:, i : i + stride * OH : stride, j : j + stride * OW : stride]
            dxp[seen] += dout * w[i, j]
            dw[i, j] = (xp[seen] * dout).sum(axis=(0, 1, 2))
    return dxp[:, 1:-1, 1:-1], dw


def batchnorm(x, gamma, beta):
    """Give each channel of x (N, H, W, C) mean 0 and variance 1 over the batch, then scale and shift it."""
    xhat = (x - x.mean(axis=(0, 1, 2))) / np.sqrt(x.var(axis=(0, 1, 2)) + 1e-5)
    return xhat * gamma + beta


def batchnorm_backward(dout, x, gamma):
    """The gradients (dx, dgamma, dbeta) of batchnorm; x is what went into it."""
    std = np.sqrt(x.var(axis=(0, 1, 2)) + 1e-5)
    xhat = (x - x.mean(axis=(0, 1, 2))) / std
    dbeta, dgamma = dout.sum(axis=(0, 1, 2)), (dout * xhat).sum(axis=(0, 1, 2))
    m = x.size // x.shape[-1]
    return gamma / std * (dout - dbeta / m - xhat * dgamma / m), dgamma, dbeta


def relu6(x):
    """0 below 0, 6 above 6, x between."""
    return np.minimum(np.maximum(x, 0), 6)


def block_forward(x, p, stride):
    if "we" in p:
        u = x @ p["we"]
        un = batchnorm(u, p["gamma1"], p["beta1"])
        ua = relu6(un)
    else:
        u, un, ua = x, x, x
    f = depthwise(ua, p["wd"], 1)
    fn = batchnorm(f, p["gamma2"], p["beta2"])
    fa = relu6(fn)
    fs = fa[:, ::stride, ::stride]
    n = fs @ p["wp"]
    nn = batchnorm(n, p["gamma3"], p["beta3"])
    out = nn + x if (stride == 1 and x.shape[-1] == nn.shape[-1]) else nn
    return out, {"x": x, "p": p, "s": stride, "u": u, "un": un, "ua": ua, "f": f, "fn": fn, "fa": fa, "fs": fs, "n": n}


def block_backward(dout, cache):
    p, s, x = cache["p"], cache["s"], cache["x"]
    g = {}
    dn, g["gamma3"], g["beta3"] = batchnorm_backward(dout, cache["n"], p["gamma3"])
    E, M = p["wp"].shape
    g["wp"] = cache["fs"].reshape(-1, E).T @ dn.reshape(-1, M)
    dfa = np.zeros_like(cache["fa"])
    dfa[:, ::s, ::s] = dn @ p["wp"].T
    dfn = dfa * (cache["fn"] > 0) * (cache["fn"] < 6)
    df, g["gamma2"], g["beta2"] = batchnorm_backward(dfn, cache["f"], p["gamma2"])
    dua, g["wd"] = depthwise_backward(df, cache["ua"], p["wd"], 1)
    dx = dua
    if "we" in p:
        dun = dua * (cache["un"] > 0) * (cache["un"] < 6)
        du, g["gamma1"], g["beta1"] = batchnorm_backward(dun, cache["u"], p["gamma1"])
        g["we"] = x.reshape(-1, x.shape[-1]).T @ du.reshape(-1, E)
        dx = du @ p["we"].T
    if s == 1 and x.shape[-1] == M:
        dx = dx + dout
    return dx, g
