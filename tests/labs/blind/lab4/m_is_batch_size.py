# m, the number of values of a channel, is taken as the number of images N, so for (N, H, W, C) the factors 1 / m are
# too large by H * W.
import numpy as np


def batchnorm_backward(dout, x, gamma, eps):
    N = x.shape[0]
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axis=axes)
    var = x.var(axis=axes)
    istd = 1.0 / np.sqrt(var + eps)
    xhat = (x - mean) * istd

    dgamma = np.sum(dout * xhat, axis=axes)
    dbeta = np.sum(dout, axis=axes)
    dxhat = dout * gamma
    dx = istd / N * (N * dxhat - dxhat.sum(axis=axes) - xhat * (dxhat * xhat).sum(axis=axes))
    return dx, dgamma, dbeta
