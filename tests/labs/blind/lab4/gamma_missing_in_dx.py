# dx is computed from dout itself, not from dout * gamma, so the factor gamma is missing in dx.
import numpy as np


def batchnorm_backward(dout, x, gamma, eps):
    C = x.shape[-1]
    X = x.reshape(-1, C)
    D = dout.reshape(-1, C)
    m = X.shape[0]
    mu = X.mean(0)
    var = X.var(0)
    std = np.sqrt(var + eps)
    Xhat = (X - mu) / std

    dbeta = D.sum(0)
    dgamma = np.einsum("rc,rc->c", D, Xhat)
    dX = (D - dbeta / m - Xhat * dgamma / m) / std
    return dX.reshape(x.shape), dgamma, dbeta
