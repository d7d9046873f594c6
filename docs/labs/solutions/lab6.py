# %% [markdown]
# # Lab 6: count first
#
# 30 minutes. Cost follows from shapes; write down the convention.
#
# No layer runs in this lab, and there is no array in it. The handout docs/labs/6.md has the convention and an example
# to do by hand. Ask the grader as often as you like: `python -m npmnv2 lab 6`.

# %%
import numpy as np  # noqa: F401 - if you like

# %% [markdown]
# ## The given one: the table of MobileNetV2
#
# A row is (t, c, n, s): expansion factor, output channels, number of blocks, stride of the first of them.

# %%
ROWS = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]

# %% [markdown]
# ## Yours


# %%
def layer_cost(kind, H, W, C, M, k, s):
    """The cost of a layer for one image: the tuple (madds, weights, bytes), three whole numbers.

    kind is "standard", "depthwise" (M is C), "pointwise" (k is 1) or "linear" (H, W, k and s are 1). H and W are those
    of the input, the padding is k // 2 on every side, s is the stride, and there are no biases.
    """
    OH, OW = (H - 1) // s + 1, (W - 1) // s + 1
    weights = k * k * C if kind == "depthwise" else k * k * C * M
    madds = OH * OW * weights
    return madds, weights, 4 * (H * W * C + weights + OH * OW * M)


# %%
def network_cost(rows):
    """The multiply-adds of a MobileNetV2 with the blocks of `rows`, for an image of 224 x 224 pixels: a whole number.

    Before the blocks: the stem, a standard convolution 3 x 3 with stride 2, from 3 to 32 channels. After them: the
    head, a pointwise convolution to 1280 channels; a mean over all pixels; and the classifier, linear, to 1000 classes.
    """
    total = layer_cost("standard", 224, 224, 3, 32, 3, 2)[0]
    H, C = 112, 32
    for t, c, n, s in rows:
        for block in range(n):
            stride, E = s if block == 0 else 1, t * C
            if t > 1:
                total += layer_cost("pointwise", H, H, C, E, 1, 1)[0]
            total += layer_cost("depthwise", H, H, E, E, 3, stride)[0]
            H = (H - 1) // stride + 1
            total += layer_cost("pointwise", H, H, E, c, 1, 1)[0]
            C = c
    total += layer_cost("pointwise", H, H, C, 1280, 1, 1)[0]
    return total + layer_cost("linear", 1, 1, 1280, 1000, 1, 1)[0]


# %% [markdown]
# ## Try it
#
# The example of the handout: the layer must cost (216, 54, 440).

# %%
if __name__ == "__main__":
    print(layer_cost("standard", 4, 4, 3, 2, 3, 2))
    print(f"{network_cost(ROWS):,}")
