# the stride of a row is used in every one of its n blocks, not only in the first.
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
    H = W = 224
    total, _, _ = layer_cost("standard", H, W, 3, 32, 3, 2)
    H = W = 112
    C = 32
    for t, c, n, s in rows:
        for _ in range(n):
            E = t * C
            if t > 1:
                total += layer_cost("pointwise", H, W, C, E, 1, 1)[0]
            total += layer_cost("depthwise", H, W, E, E, 3, s)[0]
            H, W = -(-H // s), -(-W // s)
            total += layer_cost("pointwise", H, W, E, c, 1, 1)[0]
            C = c
    total += layer_cost("pointwise", H, W, C, 1280, 1, 1)[0]
    total += layer_cost("linear", 1, 1, 1280, 1000, 1, 1)[0]
    return total
