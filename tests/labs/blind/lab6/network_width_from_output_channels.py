# the width inside a block is t times the output channels (t * c), not t times the input channels.
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
    blocks = []
    C = 32
    for t, c, n, s in rows:
        strides = [s] + [1] * (n - 1)
        for stride in strides:
            blocks.append((t, C, c, stride))
            C = c

    total = layer_cost("standard", 224, 224, 3, 32, 3, 2)[0]
    h = 112
    for t, cin, cout, stride in blocks:
        wide = t * cout if t != 1 else cin
        if t != 1:
            total += layer_cost("pointwise", h, h, cin, wide, 1, 1)[0]
        total += layer_cost("depthwise", h, h, wide, wide, 3, stride)[0]
        h = int(np.ceil(h / stride))
        total += layer_cost("pointwise", h, h, wide, cout, 1, 1)[0]
    total += layer_cost("pointwise", h, h, C, 1280, 1, 1)[0]
    return total + layer_cost("linear", 1, 1, 1280, 1000, 1, 1)[0]
