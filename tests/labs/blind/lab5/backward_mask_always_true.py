# the mask of ReLU6 is asked of the activated values with >= 0 and <= 6, which is true everywhere, so ReLU6 passes
# every gradient on.
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
        wide = x @ p["we"]
        wide_act = relu6(batchnorm(wide, p["gamma1"], p["beta1"]))
    else:
        wide = None
        wide_act = x
    filtered = depthwise(wide_act, p["wd"], stride)
    filtered_act = relu6(batchnorm(filtered, p["gamma2"], p["beta2"]))
    narrow = filtered_act @ p["wp"]
    narrow_norm = batchnorm(narrow, p["gamma3"], p["beta3"])
    out = narrow_norm.copy()
    if stride == 1 and x.shape[-1] == narrow.shape[-1]:
        out += x
    cache = {
        "x": x,
        "p": p,
        "stride": stride,
        "wide_act": wide_act,
        "filtered": filtered,
        "filtered_act": filtered_act,
        "narrow": narrow,
        "narrow_norm": narrow_norm,
    }
    if wide is not None:
        cache["wide"] = wide
    return out, cache


def relu6_backward(dout, act):
    passed = (act >= 0) & (act <= 6)
    return dout * passed


def block_backward(dout, cache):
    x, p, stride = cache["x"], cache["p"], cache["stride"]
    E, M = p["wp"].shape
    grads = {}
    d, grads["gamma3"], grads["beta3"] = batchnorm_backward(dout, cache["narrow"], p["gamma3"])
    grads["wp"] = cache["filtered_act"].reshape(-1, E).T @ d.reshape(-1, M)
    d = relu6_backward(d @ p["wp"].T, cache["filtered_act"])
    d, grads["gamma2"], grads["beta2"] = batchnorm_backward(d, cache["filtered"], p["gamma2"])
    d, grads["wd"] = depthwise_backward(d, cache["wide_act"], p["wd"], stride)
    if "we" in p:
        d = relu6_backward(d, cache["wide_act"])
        d, grads["gamma1"], grads["beta1"] = batchnorm_backward(d, cache["wide"], p["gamma1"])
        grads["we"] = x.reshape(-1, x.shape[-1]).T @ d.reshape(-1, E)
        d = d @ p["we"].T
    if stride == 1 and x.shape[-1] == M:
        d = d + dout
    return d, grads
