# mean and variance are taken for each image by itself (over H and W), not over all images of the batch.
import numpy as np


def batchnorm_backward(dout, x, gamma, eps):
    spatial = (1, 2) if x.ndim == 4 else (0,)
    everything = tuple(range(x.ndim - 1))
    mean = x.mean(axis=spatial, keepdims=True)
    var = x.var(axis=spatial, keepdims=True)
    std = np.sqrt(var + eps)
    xhat = (x - mean) / std

    dgamma = (dout * xhat).sum(axis=everything)
    dbeta = dout.sum(axis=everything)

    dxhat = dout * gamma
    dx = (
        dxhat - dxhat.mean(axis=spatial, keepdims=True) - xhat * (dxhat * xhat).mean(axis=spatial, keepdims=True)
    ) / std
    return dx, dgamma, dbeta
