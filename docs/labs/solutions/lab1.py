# %% [markdown]
# # Lab 1: one loop, three operators
#
# 35 minutes. Depthwise mixes space, pointwise channels, standard both.
#
# Arrays are NHWC: image, row, column, channel. The handout docs/labs/1.md has the formulas and an example to do by
# hand. Ask the grader as often as you like: `python -m npmnv2 lab 1`.

# %%
import numpy as np

# %% [markdown]
# ## The given one: a standard convolution, tap by tap
#
# Tap (i, j) of every window at once is a strided slice of `xp`, in the shape of the output.


# %%
def standard(xp, w, stride):
    """Convolve a padded image xp (N, H, W, C) with w (KH, KW, C, M): out (N, OH, OW, M)."""
    N, H, W, C = xp.shape
    KH, KW, C, M = w.shape
    OH, OW = (H - KH) // stride + 1, (W - KW) // stride + 1
    out = np.zeros((N, OH, OW, M), xp.dtype)
    for i in range(KH):
        for j in range(KW):
            rows = slice(i, i + stride * (OH - 1) + 1, stride)
            cols = slice(j, j + stride * (OW - 1) + 1, stride)
            out += xp[:, rows, cols] @ w[i, j]
    return out


# %% [markdown]
# ## Yours


# %%
def depthwise(xp, w, stride):
    """Convolve each channel of a padded image xp (N, H, W, C) with its own filter in w (KH, KW, C).

    Returns out (N, OH, OW, C).
    """
    N, H, W, C = xp.shape
    KH, KW, C = w.shape
    OH, OW = (H - KH) // stride + 1, (W - KW) // stride + 1
    out = np.zeros((N, OH, OW, C), xp.dtype)
    for i in range(KH):
        for j in range(KW):
            rows = slice(i, i + stride * (OH - 1) + 1, stride)
            cols = slice(j, j + stride * (OW - 1) + 1, stride)
            out += xp[:, rows, cols] * w[i, j]
    return out


# %%
def pointwise(x, w):
    """Mix the channels of every pixel of x (N, H, W, C) by w (C, M). Returns out (N, H, W, M)."""
    return x @ w


# %%
def as_standard(wd):
    """The w (KH, KW, C, C) for which standard(xp, w, stride) is depthwise(xp, wd, stride); wd is (KH, KW, C)."""
    KH, KW, C = wd.shape
    w = np.zeros((KH, KW, C, C), wd.dtype)
    for c in range(C):
        w[:, :, c, c] = wd[:, :, c]
    return w


# %% [markdown]
# ## Try it
#
# The example of the handout: the result must be [[5421, 6532], [8754, 9865]].

# %%
if __name__ == "__main__":
    xp = np.arange(1.0, 10.0).reshape(1, 3, 3, 1)
    w = np.array([1.0, 10.0, 100.0, 1000.0]).reshape(2, 2, 1)
    print(depthwise(xp, w, stride=1)[0, :, :, 0])
