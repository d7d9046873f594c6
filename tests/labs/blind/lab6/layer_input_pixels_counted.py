# the multiply-adds are counted for every input pixel (H * W), the stride is not taken into account there.
import numpy as np


def layer_cost(kind, H, W, C, M, k, s):
    if kind == "depthwise":
        weights = C * k**2
    elif kind == "standard":
        weights = C * M * k**2
    else:
        weights = C * M
    madds = H * W * weights
    oh = -(-H // s)
    ow = -(-W // s)
    size = 4
    return madds, weights, H * W * C * size + weights * size + oh * ow * M * size


def network_cost(rows):
    def out_size(size, s):
        return -(-size // s)

    size = 112
    total = 112 * 112 * 27 * 32
    C = 32
    for t, c, n, s in rows:
        for i in range(n):
            E = t * C
            if t != 1:
                total += size * size * C * E
            size = out_size(size, s if i == 0 else 1)
            total += size * size * 9 * E
            total += size * size * E * c
            C = c
    total += size * size * C * 1280
    return total + 1280 * 1000
