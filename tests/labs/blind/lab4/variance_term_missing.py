# dx has no contribution through the variance; only the straight way and the way through the mean are added.
import numpy as np


def batchnorm_backward(dout, x, gamma, eps):
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axis=axes)
    centered = x - mean
    inv_std = 1 / np.sqrt((centered * centered).mean(axis=axes) + eps)
    xhat = centered * inv_std

    dbeta = dout.sum(axis=axes)
    dgamma = (dout * xhat).sum(axis=axes)

    dxhat = dout * gamma
    # xhat = centered * inv_std
    dcentered = dxhat * inv_std
    # centered = x - mean
    dmean = -dcentered.sum(axis=axes)
    m = x.size // x.shape[-1]
    dx = dcentered + dmean / m
    return dx, dgamma, dbeta
