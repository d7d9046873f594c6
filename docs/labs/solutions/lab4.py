# %% [markdown]
# # Lab 4: batch norm backwards
#
# 45 minutes. The mean and the variance are functions of x too.
#
# Arrays are (N, H, W, C) or (R, C): the channel is the last axis, and every channel is normalised by itself. The
# handout docs/labs/4.md has the formulas and an example to do by hand. Ask the grader as often as you like:
# `python -m npmnv2 lab 4`.

# %%
import numpy as np

# %% [markdown]
# ## The given one: the forward, one operation a line


# %%
def batchnorm_forward(x, gamma, beta, eps):
    """Normalise each channel of x (..., C), then scale by gamma (C,) and shift by beta (C,)."""
    axes = tuple(range(x.ndim - 1))
    m = x.size // x.shape[-1]  # values a channel
    mean = x.sum(axis=axes) / m
    centered = x - mean
    squared = centered * centered
    var = squared.sum(axis=axes) / m
    std = np.sqrt(var + eps)
    inv_std = 1 / std
    xhat = centered * inv_std
    return xhat * gamma + beta


# %% [markdown]
# ## Yours
#
# Either one line of the forward at a time, the last one first, or the closed form.


# %%
def batchnorm_backward(dout, x, gamma, eps):
    """The gradients of batchnorm_forward: given dout (..., C), return the tuple (dx, dgamma, dbeta).

    dx has the shape of x, dgamma and dbeta that of gamma.
    """
    axes = tuple(range(x.ndim - 1))
    m = x.size // x.shape[-1]
    centered = x - x.sum(axis=axes) / m
    var = (centered * centered).sum(axis=axes) / m
    std = np.sqrt(var + eps)
    inv_std = 1 / std
    xhat = centered * inv_std

    # out = xhat * gamma + beta
    dbeta = dout.sum(axis=axes)
    dgamma = (dout * xhat).sum(axis=axes)
    dxhat = dout * gamma
    # xhat = centered * inv_std
    dcentered = dxhat * inv_std
    dinv_std = (dxhat * centered).sum(axis=axes)
    # inv_std = 1 / std, std = sqrt(var + eps), var = sum(squared) / m
    dstd = -dinv_std / std**2
    dvar = dstd / (2 * std)
    dsquared = dvar / m
    # squared = centered * centered: used twice, so it receives twice
    dcentered = dcentered + 2 * centered * dsquared
    # centered = x - mean, mean = sum(x) / m
    dmean = -dcentered.sum(axis=axes)
    dx = dcentered + dmean / m
    return dx, dgamma, dbeta


# %% [markdown]
# ## Try it
#
# The example of the handout: dx * std * 26 must be [15, -21, 6], dgamma * std must be 5, and dbeta 3.

# %%
if __name__ == "__main__":
    x = np.array([[1.0], [3.0], [8.0]])
    dout = np.array([[1.0], [0.0], [2.0]])
    dx, dgamma, dbeta = batchnorm_backward(dout, x, gamma=np.ones(1), eps=0.0)
    std = np.sqrt(26 / 3)
    print((dx * std * 26).ravel(), dgamma * std, dbeta)
