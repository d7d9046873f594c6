# x is added to the projection before the third batch norm, so the shortcut is normalised too.
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
    steps = {"x": x, "p": p, "stride": stride}
    a = x
    if "we" in p:
        steps["wide"] = a @ p["we"]
        steps["wide_norm"] = batchnorm(steps["wide"], p["gamma1"], p["beta1"])
        a = relu6(steps["wide_norm"])
    steps["wide_act"] = a
    steps["filtered"] = depthwise(a, p["wd"], stride)
    steps["filtered_norm"] = batchnorm(steps["filtered"], p["gamma2"], p["beta2"])
    steps["filtered_act"] = relu6(steps["filtered_norm"])
    narrow = steps["filtered_act"] @ p["wp"]
    if stride == 1 and x.shape[-1] == narrow.shape[-1]:
        narrow = narrow + x
    steps["narrow"] = narrow
    out = batchnorm(narrow, p["gamma3"], p["beta3"])
    return out, steps


def block_backward(dout, cache):
    x, p, stride = cache["x"], cache["p"], cache["stride"]
    grads = {}
    dnarrow, grads["gamma3"], grads["beta3"] = batchnorm_backward(dout, cache["narrow"], p["gamma3"])
    E, M = p["wp"].shape
    grads["wp"] = np.einsum("ke,km->em", cache["filtered_act"].reshape(-1, E), dnarrow.reshape(-1, M))
    d = np.einsum("nhwm,em->nhwe", dnarrow, p["wp"])
    fn = cache["filtered_norm"]
    d = np.where((fn > 0) & (fn < 6), d, 0)
    d, grads["gamma2"], grads["beta2"] = batchnorm_backward(d, cache["filtered"], p["gamma2"])
    d, grads["wd"] = depthwise_backward(d, cache["wide_act"], p["wd"], stride)
    if "we" in p:
        wn = cache["wide_norm"]
        d = np.where((wn > 0) & (wn < 6), d, 0)
        d, grads["gamma1"], grads["beta1"] = batchnorm_backward(d, cache["wide"], p["gamma1"])
        grads["we"] = np.einsum("nhwc,nhwe->ce", x, d)
        d = np.einsum("nhwe,ce->nhwc", d, p["we"])
    if stride == 1 and x.shape[-1] == M:
        d = d + dnarrow
    return d, grads
