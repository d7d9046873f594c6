# %% [markdown]
# # Lab 2: the same loop backwards
#
# 50 minutes. Every product sends the gradient to both of its factors.
#
# Arrays are NHWC: image, row, column, channel. The handout docs/labs/2.md has the formulas and an example to do by
# hand. Ask the grader as often as you like: `python -m npmnv2 lab 2`.

# %%
import numpy as np

# %% [markdown]
# ## The given one: the forward


# %%
def padded(x, pad):
    """x (N, H, W, C) with pad rows and columns of zeros on every side."""
    N, H, W, C = x.shape
    xp = np.zeros((N, H + 2 * pad, W + 2 * pad, C), x.dtype)
    xp[:, pad : pad + H, pad : pad + W] = x
    return xp


def depthwise_forward(x, w, stride, pad):
    """Convolve each channel of x (N, H, W, C) with its own filter in w (KH, KW, C): out (N, OH, OW, C)."""
    xp = padded(x, pad)
    N, HP, WP, C = xp.shape
    KH, KW, C = w.shape
    OH, OW = (HP - KH) // stride + 1, (WP - KW) // stride + 1
    out = np.zeros((N, OH, OW, C), x.dtype)
    for i in range(KH):
        for j in range(KW):
            rows = slice(i, i + stride * (OH - 1) + 1, stride)
            cols = slice(j, j + stride * (OW - 1) + 1, stride)
            out += xp[:, rows, cols] * w[i, j]
    return out


# %% [markdown]
# ## Yours


# %%
def depthwise_backward(dout, x, w, stride, pad):
    """The gradients of depthwise_forward: given dout (N, OH, OW, C), return the tuple (dx, dw).

    dx has the shape of x, which is not padded, and dw that of w. Both are sums, not means.
    """
    xp = padded(x, pad)
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    N, OH, OW, C = dout.shape
    dxp, dw = np.zeros_like(xp), np.zeros_like(w)
    for i in range(KH):
        for j in range(KW):
            rows = slice(i, i + stride * (OH - 1) + 1, stride)
            cols = slice(j, j + stride * (OW - 1) + 1, stride)
            dxp[:, rows, cols] += dout * w[i, j]
            dw[i, j] = (dout * xp[:, rows, cols]).sum(axis=(0, 1, 2))
    return dxp[:, pad : pad + H, pad : pad + W], dw


# %% [markdown]
# ## Try it
#
# The example of the handout: dx must be [10, 120, 200] and dw [210, 320].

# %%
if __name__ == "__main__":
    x = np.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
    w = np.array([1.0, 2.0]).reshape(1, 2, 1)
    dout = np.array([10.0, 100.0]).reshape(1, 1, 2, 1)
    dx, dw = depthwise_backward(dout, x, w, stride=1, pad=0)
    print(dx.ravel(), dw.ravel())
