# %% [markdown]
# # Lab 3: break it
#
# 30 minutes. A check is worth what it rejects.
#
# You write no operation but its check. The grader hands it a forward, and one backward after the other: right ones, and
# wrong ones. The handout docs/labs/3.md has the specification and an example to do by hand. Ask the grader as often as
# you like: `python -m npmnv2 lab 3`.

# %%
import numpy as np

# %% [markdown]
# ## The given ones: a depthwise convolution and its backward
#
# This backward is right. To try your check, break it.


# %%
def forward(x, w, stride, pad):
    """Convolve each channel of x (N, H, W, C) with its own filter in w (KH, KW, C): out (N, OH, OW, C)."""
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    xp = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    OH, OW = (H + 2 * pad - KH) // stride + 1, (W + 2 * pad - KW) // stride + 1
    out = np.zeros((N, OH, OW, C))
    for i in range(KH):
        for j in range(KW):
            rows = slice(i, i + stride * (OH - 1) + 1, stride)
            cols = slice(j, j + stride * (OW - 1) + 1, stride)
            out += xp[:, rows, cols] * w[i, j]
    return out


def backward(dout, x, w, stride, pad):
    """The gradients (dx, dw) of forward, for the gradient dout of its output."""
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    OH, OW = dout.shape[1:3]
    xp = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    dxp, dw = np.zeros(xp.shape), np.zeros(w.shape)
    for i in range(KH):
        for j in range(KW):
            rows = slice(i, i + stride * (OH - 1) + 1, stride)
            cols = slice(j, j + stride * (OW - 1) + 1, stride)
            dw[i, j] = (xp[:, rows, cols] * dout).sum(axis=(0, 1, 2))
            dxp[:, rows, cols] += dout * w[i, j]
    return dxp[:, pad : pad + H, pad : pad + W], dw


# %% [markdown]
# ## Yours


# %%
def check(forward, backward):
    """Is `backward` the gradient of `forward`? None if so, else a text that says what is wrong.

    Choose the arguments yourself: x, w, stride, pad and dout.
    """
    h = 1e-6
    rng = np.random.default_rng(0)
    for stride, pad, H, W in ((1, 0, 6, 4), (2, 1, 7, 5), (1, 1, 4, 6)):
        x, w = rng.normal(size=(2, H, W, 3)), rng.normal(size=(3, 2, 3))
        dout = rng.normal(size=forward(x, w, stride, pad).shape)
        dx, dw = backward(dout, x, w, stride, pad)
        for name, a, grad in (("dx", x, dx), ("dw", w, dw)):
            for k in np.ndindex(a.shape):
                old = a[k]
                a[k] = old + h
                up = np.sum(dout * forward(x, w, stride, pad))
                a[k] = old - h
                down = np.sum(dout * forward(x, w, stride, pad))
                a[k] = old
                slope = (up - down) / (2 * h)
                if abs(grad[k] - slope) > 1e-6:
                    return f"{name}{list(k)} is {grad[k]:.6g}, must be {slope:.6g} (stride {stride}, pad {pad})"
    return None


# %% [markdown]
# ## Try it

# %%
if __name__ == "__main__":
    print("right:", check(forward, backward))
    print("wrong:", check(forward, lambda dout, x, w, stride, pad: (0 * x, 0 * w)))
