# the activation is a plain ReLU, np.maximum(x, 0): nothing is cut at 6, neither forward nor backward.
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
    h = x
    wide = wide_norm = None
    if "we" in p:
        wide = h @ p["we"]
        wide_norm = batchnorm(wide, p["gamma1"], p["beta1"])
        h = np.maximum(wide_norm, 0)
    wide_act = h
    filtered = depthwise(wide_act, p["wd"], stride)
    filtered_norm = batchnorm(filtered, p["gamma2"], p["beta2"])
    filtered_act = np.maximum(filtered_norm, 0)
    narrow = filtered_act @ p["wp"]
    out = batchnorm(narrow, p["gamma3"], p["beta3"])
    add = stride == 1 and x.shape == out.shape
    if add:
        out = out + x
    return out, (x, p, stride, add, wide, wide_norm, wide_act, filtered, filtered_norm, filtered_act, narrow)


def block_backward(dout, cache):
    x, p, stride, add, wide, wide_norm, wide_act, filtered, filtered_norm, filtered_act, narrow = cache
    C = x.shape[-1]
    dnarrow, dgamma3, dbeta3 = batchnorm_backward(dout, narrow, p["gamma3"])
    E, M = p["wp"].shape
    dwp = filtered_act.reshape(-1, E).T @ dnarrow.reshape(-1, M)
    dfiltered_act = dnarrow @ p["wp"].T
    dfiltered_norm = np.where(filtered_norm > 0, dfiltered_act, 0)
    dfiltered, dgamma2, dbeta2 = batchnorm_backward(dfiltered_norm, filtered, p["gamma2"])
    dx, dwd = depthwise_backward(dfiltered, wide_act, p["wd"], stride)
    grads = dict(wd=dwd, wp=dwp, gamma2=dgamma2, beta2=dbeta2, gamma3=dgamma3, beta3=dbeta3)
    if "we" in p:
        dwide_norm = np.where(wide_norm > 0, dx, 0)
        dwide, grads["gamma1"], grads["beta1"] = batchnorm_backward(dwide_norm, wide, p["gamma1"])
        grads["we"] = x.reshape(-1, C).T @ dwide.reshape(-1, E)
        dx = dwide @ p["we"].T
    return (dx + dout if add else dx), grads
