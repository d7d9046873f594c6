# the output size is rounded down, H // s, so odd inputs with stride 2 lose their last row and column of windows.
import numpy as np


def layer_cost(kind, H, W, C, M, k, s):
    Ho = H // s
    Wo = W // s
    if kind == "standard":
        weights = k * k * C * M
    elif kind == "depthwise":
        weights = k * k * C
    else:  # pointwise and linear
        weights = C * M
    madds = Ho * Wo * weights
    n_bytes = (H * W * C + weights + Ho * Wo * M) * 4
    return madds, weights, n_bytes


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
