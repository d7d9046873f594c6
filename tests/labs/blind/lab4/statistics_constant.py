# mean and variance are treated as constants (as at inference), so dx is only gamma / std * dout.
import numpy as np


def batchnorm_backward(dout, x, gamma, eps):
    ax = tuple(range(x.ndim - 1))
    mu = np.mean(x, axis=ax)
    sigma = np.sqrt(np.var(x, axis=ax) + eps)
    x_norm = (x - mu) / sigma
    dgamma = np.sum(dout * x_norm, axis=ax)
    dbeta = np.sum(dout, axis=ax)
    # out = gamma * (x - mu) / sigma + beta is a straight line in x, its slope is gamma / sigma
    dx = dout * gamma / sigma
    return dx, dgamma, dbeta
