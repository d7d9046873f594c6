# x.reshape(C, -1) is used to bring the channels to the front, which cuts the memory into C pieces and mixes the
# channels (a transpose was needed).
import numpy as np


def batchnorm_backward(dout, x, gamma, eps):
    C = x.shape[-1]
    xr = x.reshape(C, -1)
    dr = dout.reshape(C, -1)
    m = xr.shape[1]

    mean = xr.mean(axis=1, keepdims=True)
    std = np.sqrt(xr.var(axis=1, keepdims=True) + eps)
    xhat = (xr - mean) / std

    dgamma = (dr * xhat).sum(axis=1)
    dbeta = dr.sum(axis=1)

    dxhat = dr * gamma[:, None]
    dx = (dxhat - dxhat.sum(axis=1, keepdims=True) / m - xhat * (dxhat * xhat).sum(axis=1, keepdims=True) / m) / std
    return dx.reshape(x.shape), dgamma, dbeta
