# two mistakes: the gradients of we and wp are averages over the images and not sums, and that of wp is computed with
# filtered_norm, before ReLU6.
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
    c = {"x": x, "p": p, "stride": stride}
    a = x
    if "we" in p:
        c["wide"] = a @ p["we"]
        c["wide_norm"] = batchnorm(c["wide"], p["gamma1"], p["beta1"])
        a = relu6(c["wide_norm"])
    c["wide_act"] = a
    c["filtered"] = depthwise(a, p["wd"], stride)
    c["filtered_norm"] = batchnorm(c["filtered"], p["gamma2"], p["beta2"])
    c["filtered_act"] = relu6(c["filtered_norm"])
    c["narrow"] = c["filtered_act"] @ p["wp"]
    c["narrow_norm"] = batchnorm(c["narrow"], p["gamma3"], p["beta3"])
    same = stride == 1 and x.shape[-1] == c["narrow"].shape[-1]
    return (c["narrow_norm"] + x if same else c["narrow_norm"]), c


def pointwise_backward(dout, x, w):
    N = x.shape[0]
    dw = np.einsum("nhwc,nhwm->cm", x, dout) / N
    return dout @ w.T, dw


def block_backward(dout, cache):
    x, p, stride = cache["x"], cache["p"], cache["stride"]
    g = {}
    d, g["gamma3"], g["beta3"] = batchnorm_backward(dout, cache["narrow"], p["gamma3"])
    d, g["wp"] = pointwise_backward(d, cache["filtered_norm"], p["wp"])
    z = cache["filtered_norm"]
    d = d * ((z > 0) & (z < 6))
    d, g["gamma2"], g["beta2"] = batchnorm_backward(d, cache["filtered"], p["gamma2"])
    d, g["wd"] = depthwise_backward(d, cache["wide_act"], p["wd"], stride)
    if "we" in p:
        z = cache["wide_norm"]
        d = d * ((z > 0) & (z < 6))
        d, g["gamma1"], g["beta1"] = batchnorm_backward(d, cache["wide"], p["gamma1"])
        d, g["we"] = pointwise_backward(d, x, p["we"])
    if stride == 1 and x.shape[-1] == dout.shape[-1]:
        d = d + dout
    return d, g
