# the mask of ReLU6 is taken from the output of the convolution (wide, filtered) and not from wide_norm,
# filtered_norm, which ReLU6 really saw.
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
    act0 = x
    conv1 = None
    if "we" in p:
        conv1 = x @ p["we"]
        act0 = relu6(batchnorm(conv1, p["gamma1"], p["beta1"]))
    conv2 = depthwise(act0, p["wd"], stride)
    act2 = relu6(batchnorm(conv2, p["gamma2"], p["beta2"]))
    conv3 = act2 @ p["wp"]
    out = batchnorm(conv3, p["gamma3"], p["beta3"])
    if stride == 1 and x.shape[-1] == out.shape[-1]:
        out = out + x
    return out, (x, p, stride, conv1, act0, conv2, act2, conv3)


def mask(z):
    return (z > 0) & (z < 6)


def block_backward(dout, cache):
    x, p, stride, conv1, act0, conv2, act2, conv3 = cache
    C, (E, M) = x.shape[-1], p["wp"].shape
    dconv3, dgamma3, dbeta3 = batchnorm_backward(dout, conv3, p["gamma3"])
    dwp = act2.reshape(-1, E).T @ dconv3.reshape(-1, M)
    dact2 = dconv3 @ p["wp"].T
    dconv2, dgamma2, dbeta2 = batchnorm_backward(dact2 * mask(conv2), conv2, p["gamma2"])
    dact0, dwd = depthwise_backward(dconv2, act0, p["wd"], stride)
    grads = {"wp": dwp, "wd": dwd, "gamma3": dgamma3, "beta3": dbeta3, "gamma2": dgamma2, "beta2": dbeta2}
    if conv1 is None:
        dx = dact0
    else:
        dconv1, grads["gamma1"], grads["beta1"] = batchnorm_backward(dact0 * mask(conv1), conv1, p["gamma1"])
        grads["we"] = x.reshape(-1, C).T @ dconv1.reshape(-1, E)
        dx = dconv1 @ p["we"].T
    if stride == 1 and C == M:
        dx = dx + dout
    return dx, grads
