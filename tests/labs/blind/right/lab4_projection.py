# Right: dx as a projection: remove the component of dout along 1 and (shrunk by var / (var + eps)) the one along centered.
import numpy as np


def batchnorm_backward(dout, x, gamma, eps):
    ax = tuple(range(x.ndim - 1))
    z = x - x.mean(axis=ax)
    zz = (z * z).sum(axis=ax)
    m = x[..., 0].size
    std = np.sqrt(zz / m + eps)
    flat = dout - dout.mean(axis=ax)
    along = (flat * z).sum(axis=ax)
    # along / zz is the coefficient; zz / (zz + m eps) is how much of it is lost
    dx = (flat - z * along / (zz + m * eps)) * (gamma / std)
    return dx.astype(x.dtype), (along / std).astype(x.dtype), dout.sum(axis=ax)
