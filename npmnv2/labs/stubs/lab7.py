# mypy: ignore-errors
# %% [markdown]
# # Lab 7: in t parts
#
# 45 minutes. The wide middle need never be whole.
#
# Arrays are NHWC: image, row, column, channel. The handout docs/labs/7.md has the formulas and an example to do by
# hand. Ask the grader as often as you like: `python -m npmnv2 lab 7`.

# %%
import time

import numpy as np

# %% [markdown]
# ## The given one: the whole block


# %%
def relu6(x):
    """min(max(x, 0), 6)."""
    return np.clip(x, 0, 6)


def depthwise(x, w):
    """Convolve each channel of x (N, H, W, C) with its own filter in w (3, 3, C); stride 1, padding 1."""
    N, H, W, C = x.shape
    xp = np.zeros((N, H + 2, W + 2, C), x.dtype)
    xp[:, 1:-1, 1:-1] = x
    out = np.zeros_like(x)
    for i in range(3):
        for j in range(3):
            out += xp[:, i : i + H, j : j + W] * w[i, j]
    return out


def block_whole(x, we, wd, wp):
    """Expand x (N, H, W, C) to E channels, filter them, project to M: we (C, E), wd (3, 3, E), wp (E, M)."""
    wide = relu6(x @ we)
    filtered = relu6(depthwise(wide, wd))
    return filtered @ wp


# %% [markdown]
# ## Yours


# %%
def block_in_parts(x, we, wd, wp, t):
    """What block_whole gives, (N, H, W, M), with the E wide channels computed in t parts, one after the other.

    A part has at most E / t channels, rounded up; t is from 1 to E. At no time is there more than one part.
    """
    raise NotImplementedError("block_in_parts is still to be written")


# %% [markdown]
# ## Try it
#
# The example of the handout: out must be [1, -2, 6] for t = 1, 2 and 3.

# %%
if __name__ == "__main__":
    x = np.array([1.0, -2.0, 3.0]).reshape(1, 1, 3, 1)
    we = np.array([[1.0, -1.0, 4.0]])
    wd = np.zeros((3, 3, 3))
    wd[1, 1], wd[1, 2] = [1.0, 1.0, 0.5], [0.0, 1.0, 0.0]
    wp = np.array([[1.0], [-1.0], [1.0]])
    for t in (1, 2, 3):
        print(block_in_parts(x, we, wd, wp, t).ravel())

    # How long does it take in how many parts?
    rng = np.random.default_rng(0)
    shapes = (1, 28, 28, 32), (32, 192), (3, 3, 192), (192, 32)
    x, we, wd, wp = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    for t in (1, 2, 3, 5, 12, 48, 192):
        times = []
        for _ in range(5):
            start = time.perf_counter()
            block_in_parts(x, we, wd, wp, t)
            times.append(time.perf_counter() - start)
        print(f"{t:>4} parts: {1000 * min(times):6.2f} ms")
