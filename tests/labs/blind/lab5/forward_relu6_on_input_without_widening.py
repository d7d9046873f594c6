# without an expansion ReLU6 is still applied to x before the filter, where the filter must see x itself.
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
    expand = "we" in p
    if expand:
        wide = x @ p["we"]
        wide_norm = batchnorm(wide, p["gamma1"], p["beta1"])
    else:
        wide = x
        wide_norm = x
    wide_act = relu6(wide_norm)
    filtered = depthwise(wide_act, p["wd"], stride)
    filtered_norm = batchnorm(filtered, p["gamma2"], p["beta2"])
    filtered_act = relu6(filtered_norm)
    narrow = filtered_act @ p["wp"]
    narrow_norm = batchnorm(narrow, p["gamma3"], p["beta3"])
    skip = stride == 1 and p["wp"].shape[1] == x.shape[-1]
    out = narrow_norm + x if skip else narrow_norm
    cache = dict(
        x=x,
        p=p,
        stride=stride,
        skip=skip,
        expand=expand,
        wide=wide,
        wide_norm=wide_norm,
        wide_act=wide_act,
        filtered=filtered,
        filtered_norm=filtered_norm,
        filtered_act=filtered_act,
        narrow=narrow,
    )
    return out, cache


def relu6_backward(d, z):
    return np.where(np.abs(z - 3) < 3, d, 0)


def block_backward(dout, cache):
    p = cache["p"]
    grads = {}
    d, grads["gamma3"], grads["beta3"] = batchnorm_backward(dout, cache["narrow"], p["gamma3"])
    grads["wp"] = np.einsum("nhwe,nhwm->em", cache["filtered_act"], d)
    d = relu6_backward(d @ p["wp"].T, cache["filtered_norm"])
    d, grads["gamma2"], grads["beta2"] = batchnorm_backward(d, cache["filtered"], p["gamma2"])
    d, grads["wd"] = depthwise_backward(d, cache["wide_act"], p["wd"], cache["stride"])
    d = relu6_backward(d, cache["wide_norm"])
    if cache["expand"]:
        d, grads["gamma1"], grads["beta1"] = batchnorm_backward(d, cache["wide"], p["gamma1"])
        grads["we"] = np.einsum("nhwc,nhwe->ce", cache["x"], d)
        d = d @ p["we"].T
    if cache["skip"]:
        d = d + dout
    return d, grads
