# two mistakes: a multiply-add is counted as two operations, and the weights are left out of the bytes (only the
# activations are moved).
import numpy as np


def layer_cost(kind, H, W, C, M, k, s):
    OH = (H - 1) // s + 1
    OW = (W - 1) // s + 1
    if kind == "depthwise":
        weights = k * k * M
    else:
        weights = k * k * C * M
    ops = 2 * weights * OH * OW
    return ops, weights, 4 * (C * H * W + M * OH * OW)


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
