# a depthwise output value is counted as a sum over all input channels, as in a standard convolution, for multiply-
# adds and weights.
import math

import numpy as np


def layer_cost(kind, H, W, C, M, k, s):
    rows, cols = math.ceil(H / s), math.ceil(W / s)
    out_values = rows * cols * M
    if kind in ("standard", "depthwise"):
        per_value = k * k * C
    else:
        per_value = C
    weights = per_value * M
    madds = out_values * per_value
    return madds, weights, 4 * (H * W * C + weights + out_values)


def network_cost(rows):
    total = layer_cost("standard", 224, 224, 3, 32, 3, 2)[0]
    h, C = 112, 32
    for t, c, n, s in rows:
        for i in range(n):
            stride = s if i == 0 else 1
            if t != 1:
                total += layer_cost("pointwise", h, h, C, t * C, 1, 1)[0]
            total += layer_cost("depthwise", h, h, t * C, t * C, 3, stride)[0]
            h = -(-h // stride)
            total += layer_cost("pointwise", h, h, t * C, c, 1, 1)[0]
            C = c
    total += layer_cost("pointwise", h, h, C, 1280, 1, 1)[0]
    total += layer_cost("linear", 1, 1, 1280, 1000, 1, 1)[0]
    return total
