# Right: plain loops over the values of a channel; the mean's own way gets only the straight part (the rest sums to zero).
import numpy as np


def batchnorm_backward(dout, x, gamma, eps):
    C = x.shape[-1]
    dx = np.zeros_like(x)
    dgamma, dbeta = np.zeros_like(gamma), np.zeros_like(gamma)
    for c in range(C):
        xs = [float(v) for v in x[..., c].ravel()]
        ds = [float(v) for v in dout[..., c].ravel()]
        m = len(xs)
        mu = sum(xs) / m
        var = sum((v - mu) ** 2 for v in xs) / m
        root = (var + eps) ** 0.5
        s0 = sum(ds)
        s1 = sum(d * (v - mu) for d, v in zip(ds, xs))
        dmu = -float(gamma[c]) * s0 / root
        dvar = -0.5 * float(gamma[c]) * s1 / root**3
        col = [float(gamma[c]) * d / root + dvar * 2 * (v - mu) / m + dmu / m for d, v in zip(ds, xs)]
        dx[..., c] = np.array(col).reshape(x.shape[:-1])
        dgamma[c] = s1 / root
        dbeta[c] = s0
    return dx, dgamma, dbeta
