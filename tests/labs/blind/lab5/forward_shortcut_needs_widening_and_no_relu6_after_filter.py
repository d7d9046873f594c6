# two mistakes: a block without expansion gets no shortcut even if stride is 1 and C equals M, and there is no ReLU6
# after the filter's batch norm.
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
    N, H, W, C = x.shape
    M = p["wp"].shape[1]
    if "we" in p:
        wide = x @ p["we"]
        wide_norm = batchnorm(wide, p["gamma1"], p["beta1"])
        wide_act = relu6(wide_norm)
        add = stride == 1 and C == M
    else:
        wide = wide_norm = None
        wide_act = x
        add = False
    filtered = depthwise(wide_act, p["wd"], stride)
    filtered_norm = batchnorm(filtered, p["gamma2"], p["beta2"])
    narrow = filtered_norm @ p["wp"]
    narrow_norm = batchnorm(narrow, p["gamma3"], p["beta3"])
    out = narrow_norm + x if add else narrow_norm
    return out, (x, p, stride, add, wide, wide_norm, wide_act, filtered, filtered_norm, narrow)


def block_backward(dout, cache):
    x, p, stride, add, wide, wide_norm, wide_act, filtered, filtered_norm, narrow = cache
    grads = {}
    dnarrow, grads["gamma3"], grads["beta3"] = batchnorm_backward(dout, narrow, p["gamma3"])
    grads["wp"] = np.einsum("nhwe,nhwm->em", filtered_norm, dnarrow)
    dfiltered_norm = np.einsum("nhwm,em->nhwe", dnarrow, p["wp"])
    dfiltered, grads["gamma2"], grads["beta2"] = batchnorm_backward(dfiltered_norm, filtered, p["gamma2"])
    dx, grads["wd"] = depthwise_backward(dfiltered, wide_act, p["wd"], stride)
    if "we" in p:
        dwide_norm = dx * ((wide_norm > 0) & (wide_norm < 6))
        dwide, grads["gamma1"], grads["beta1"] = batchnorm_backward(dwide_norm, wide, p["gamma1"])
        grads["we"] = np.einsum("nhwc,nhwe->ce", x, dwide)
        dx = np.einsum("nhwe,ce->nhwc", dwide, p["we"])
    if add:
        dx = dx + dout
    return dx, grads
