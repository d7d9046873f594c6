# Right: the wide channels are done one after the other (E passes), as an implementation that saves memory would; dx
# is added up over them.
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
    E, M = p["wp"].shape
    wide_cols, act_cols = [], []
    narrow = 0
    for e in range(E):
        one = slice(e, e + 1)
        a = x[..., one]
        if "we" in p:
            u = x @ p["we"][:, one]
            un = batchnorm(u, p["gamma1"][one], p["beta1"][one])
            a = relu6(un)
        else:
            u = un = None
        f = depthwise(a, p["wd"][:, :, one], stride)
        fn = batchnorm(f, p["gamma2"][one], p["beta2"][one])
        narrow = narrow + relu6(fn) * p["wp"][e]
        wide_cols.append((u, un, a))
        act_cols.append((f, fn))
    out = batchnorm(narrow, p["gamma3"], p["beta3"])
    if stride == 1 and M == x.shape[-1]:
        out = out + x
    return out, {"x": x, "p": p, "stride": stride, "cols": (wide_cols, act_cols), "narrow": narrow}


def block_backward(dout, cache):
    x, p, stride = cache["x"], cache["p"], cache["stride"]
    grads = {name: np.zeros_like(value) for name, value in p.items()}
    dnarrow, grads["gamma3"][:], grads["beta3"][:] = batchnorm_backward(dout, cache["narrow"], p["gamma3"])
    dx = np.zeros_like(x)
    if stride == 1 and x.shape == dout.shape:
        dx += dout
    for e, ((u, un, a), (f, fn)) in enumerate(zip(*cache["cols"])):
        one = slice(e, e + 1)
        grads["wp"][e] = (relu6(fn) * dnarrow).sum(axis=(0, 1, 2))
        d = (dnarrow * p["wp"][e]).sum(axis=-1, keepdims=True)
        d = np.where((0 < fn) & (fn < 6), d, 0)
        d, grads["gamma2"][one], grads["beta2"][one] = batchnorm_backward(d, f, p["gamma2"][one])
        d, grads["wd"][:, :, one] = depthwise_backward(d, a, p["wd"][:, :, one], stride)
        if u is None:
            dx[..., one] += d
            continue
        d = np.where((0 < un) & (un < 6), d, 0)
        d, grads["gamma1"][one], grads["beta1"][one] = batchnorm_backward(d, u, p["gamma1"][one])
        grads["we"][:, e] = (x * d).sum(axis=(0, 1, 2))
        dx += d * p["we"][:, e]
    return dx, grads
