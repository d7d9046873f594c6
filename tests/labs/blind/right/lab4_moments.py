# Right: var = E[x^2] - E[x]^2, with the gradient to both moments (so no line "centered" at all).
import numpy as np


def batchnorm_backward(dout, x, gamma, eps):
    x64, g = x.astype(np.float64), dout.astype(np.float64) * gamma
    axes = tuple(range(x.ndim - 1))
    m = np.prod(x.shape[:-1])
    e1 = x64.sum(axis=axes) / m
    e2 = np.square(x64).sum(axis=axes) / m
    r = (e2 - e1**2 + eps) ** -0.5
    # out = (x - e1) * r * gamma + beta
    dr = (g * (x64 - e1)).sum(axis=axes)
    dq = -0.5 * r**3 * dr  # q = e2 - e1^2 + eps
    de2 = dq
    de1 = -(g.sum(axis=axes) * r) - 2 * e1 * dq
    dx = g * r + de1 / m + 2 * x64 * de2 / m
    dgamma = (dout * (x64 - e1) * r).sum(axis=axes)
    return dx.astype(x.dtype), dgamma.astype(x.dtype), dout.sum(axis=axes)
