# on the way back through mean = sum / m the factor 1 / m is forgotten, every x receives the whole sum.
import numpy as np


def batchnorm_backward(dout, x, gamma, eps):
    axes = tuple(range(x.ndim - 1))
    m = x.size // x.shape[-1]
    mean = x.mean(axes)
    c = x - mean
    s = np.sqrt((c * c).mean(axes) + eps)
    xhat = c / s
    dbeta = dout.sum(axes)
    dgamma = (dout * xhat).sum(axes)

    dxhat = gamma * dout
    ds = -(dxhat * c).sum(axes) / s**2
    dvar = ds / (2 * s)
    dc = dxhat / s + dvar * 2 * c / m
    dmean = -dc.sum(axes)
    return dc + dmean, dgamma, dbeta
