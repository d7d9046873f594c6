# the gradient of wd is computed with wide_norm, before ReLU6, where the filter has seen wide_act.
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
    c = dict(x=x, p=p, stride=stride)
    if "we" in p:
        c["wide"] = np.einsum("nhwc,ce->nhwe", x, p["we"])
        c["wide_norm"] = batchnorm(c["wide"], p["gamma1"], p["beta1"])
        c["wide_act"] = relu6(c["wide_norm"])
    else:
        c["wide_norm"] = c["wide_act"] = x
    c["filtered"] = depthwise(c["wide_act"], p["wd"], stride)
    c["filtered_norm"] = batchnorm(c["filtered"], p["gamma2"], p["beta2"])
    c["filtered_act"] = relu6(c["filtered_norm"])
    c["narrow"] = np.einsum("nhwe,em->nhwm", c["filtered_act"], p["wp"])
    c["narrow_norm"] = batchnorm(c["narrow"], p["gamma3"], p["beta3"])
    c["shortcut"] = stride == 1 and x.shape[-1] == c["narrow"].shape[-1]
    return c["narrow_norm"] + (x if c["shortcut"] else 0), c


def block_backward(dout, c):
    x, p = c["x"], c["p"]
    grads = {}
    dnarrow, grads["gamma3"], grads["beta3"] = batchnorm_backward(dout, c["narrow"], p["gamma3"])
    grads["wp"] = np.einsum("nhwe,nhwm->em", c["filtered_act"], dnarrow)
    dfiltered_act = np.einsum("nhwm,em->nhwe", dnarrow, p["wp"])
    dfiltered_norm = np.where((c["filtered_norm"] <= 0) | (c["filtered_norm"] >= 6), 0, dfiltered_act)
    dfiltered, grads["gamma2"], grads["beta2"] = batchnorm_backward(dfiltered_norm, c["filtered"], p["gamma2"])
    dwide_act, grads["wd"] = depthwise_backward(dfiltered, c["wide_norm"], p["wd"], c["stride"])
    dx = dwide_act
    if "we" in p:
        dwide_norm = np.where((c["wide_norm"] <= 0) | (c["wide_norm"] >= 6), 0, dwide_act)
        dwide, grads["gamma1"], grads["beta1"] = batchnorm_backward(dwide_norm, c["wide"], p["gamma1"])
        grads["we"] = np.einsum("nhwc,nhwe->ce", x, dwide)
        dx = np.einsum("nhwe,ce->nhwc", dwide, p["we"])
    if c["shortcut"]:
        dx = dx + dout
    return dx, grads
