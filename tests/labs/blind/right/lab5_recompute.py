# Right: the cache keeps x, p and stride only, the backward computes everything again; stride 2 is stride 1 with
# pixels left out before the norm.
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


def run(x, p, stride):
    steps = {"wide_act": x}
    if "we" in p:
        steps["wide"] = np.einsum("nhwc,ce->nhwe", x, p["we"])
        steps["wide_norm"] = batchnorm(steps["wide"], p["gamma1"], p["beta1"])
        steps["wide_act"] = relu6(steps["wide_norm"])
    everywhere = depthwise(steps["wide_act"], p["wd"], 1)
    steps["filtered"] = everywhere[:, ::stride, ::stride]
    steps["filtered_norm"] = batchnorm(steps["filtered"], p["gamma2"], p["beta2"])
    steps["filtered_act"] = np.clip(steps["filtered_norm"], 0, 6)
    steps["narrow"] = np.einsum("nhwe,em->nhwm", steps["filtered_act"], p["wp"])
    steps["narrow_norm"] = batchnorm(steps["narrow"], p["gamma3"], p["beta3"])
    return steps


def block_forward(x, p, stride):
    out = run(x, p, stride)["narrow_norm"]
    if (stride, x.shape[3]) == (1, out.shape[3]):
        out = x + out
    return out, (x.copy(), {name: value.copy() for name, value in p.items()}, stride)


def block_backward(dout, cache):
    x, p, stride = cache
    s = run(x, p, stride)
    g = {name: np.empty_like(value) for name, value in p.items()}
    d, g["gamma3"], g["beta3"] = batchnorm_backward(dout, s["narrow"], p["gamma3"])
    g["wp"] = np.einsum("nhwe,nhwm->em", s["filtered_act"], d)
    d = np.einsum("nhwm,em->nhwe", d, p["wp"])
    d = np.where(s["filtered_act"] == 6, 0, np.where(s["filtered_act"] == 0, 0, d))
    d, g["gamma2"], g["beta2"] = batchnorm_backward(d, s["filtered"], p["gamma2"])
    spread = np.zeros(s["wide_act"].shape, d.dtype)
    spread[:, ::stride, ::stride] = d
    d, g["wd"] = depthwise_backward(spread, s["wide_act"], p["wd"], 1)
    if "we" in p:
        d = np.where(s["wide_act"] == 6, 0, np.where(s["wide_act"] == 0, 0, d))
        d, g["gamma1"], g["beta1"] = batchnorm_backward(d, s["wide"], p["gamma1"])
        g["we"] = np.einsum("nhwc,nhwe->ce", x, d)
        d = np.einsum("nhwe,ce->nhwc", d, p["we"])
    if (stride, x.shape[3]) == (1, dout.shape[3]):
        d = d + dout
    return d, g
