# the derivative of centered * centered is taken as centered, the factor 2 is missing on the way through the variance.
import numpy as np


def batchnorm_backward(dout, x, gamma, eps):
    C = x.shape[-1]
    dx = np.zeros_like(x)
    dgamma = np.zeros_like(gamma)
    dbeta = np.zeros_like(gamma)
    for c in range(C):
        v = x[..., c]
        g = dout[..., c]
        m = v.size
        cen = v - v.sum() / m
        std = np.sqrt((cen * cen).sum() / m + eps)
        xh = cen / std

        dbeta[c] = g.sum()
        dgamma[c] = (g * xh).sum()

        dxh = g * gamma[c]
        dcen = dxh / std
        dinv = (dxh * cen).sum()
        dvar = dinv * -1 / std**2 / (2 * std)
        dcen = dcen + cen * (dvar / m)
        dx[..., c] = dcen - dcen.sum() / m
    return dx, dgamma, dbeta
