# dx is only what comes back through the three convolutions; where x was added, dout itself is not added to dx.
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
        wide_norm = batchnorm(wide, p["gamma1"], p["beta1"])
        wide_act = relu6(wide_norm)
    else:
        wide = wide_norm = None
        wide_act = x
    filtered = depthwise(wide_act, p["wd"], stride)
    filtered_norm = batchnorm(filtered, p["gamma2"], p["beta2"])
    filtered_act = relu6(filtered_norm)
    narrow = filtered_act @ p["wp"]
    out = batchnorm(narrow, p["gamma3"], p["beta3"])
    if stride == 1 and x.shape[-1] == out.shape[-1]:
        out = out + x
    return out, (x, p, stride, wide, wide_norm, wide_act, filtered, filtered_norm, filtered_act, narrow)


def block_backward(dout, cache):
    x, p, stride, wide, wide_norm, wide_act, filtered, filtered_norm, filtered_act, narrow = cache
    # project
    dnarrow, dgamma3, dbeta3 = batchnorm_backward(dout, narrow, p["gamma3"])
    dfiltered_act = dnarrow @ p["wp"].T
    dwp = sum(a.reshape(-1, a.shape[-1]).T @ d.reshape(-1, d.shape[-1]) for a, d in zip(filtered_act, dnarrow))
    # filter
    dfiltered_norm = dfiltered_act * ((0 < filtered_norm) & (filtered_norm < 6))
    dfiltered, dgamma2, dbeta2 = batchnorm_backward(dfiltered_norm, filtered, p["gamma2"])
    dwide_act, dwd = depthwise_backward(dfiltered, wide_act, p["wd"], stride)
    grads = {"wd": dwd, "gamma2": dgamma2, "beta2": dbeta2, "wp": dwp, "gamma3": dgamma3, "beta3": dbeta3}
    if "we" not in p:
        return dwide_act, grads
    # widen
    dwide_norm = dwide_act * ((0 < wide_norm) & (wide_norm < 6))
    dwide, grads["gamma1"], grads["beta1"] = batchnorm_backward(dwide_norm, wide, p["gamma1"])
    grads["we"] = sum(a.reshape(-1, a.shape[-1]).T @ d.reshape(-1, d.shape[-1]) for a, d in zip(x, dwide))
    return dwide @ p["we"].T, grads
