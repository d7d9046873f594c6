# the bytes read the zero-padded input, (H + 2p) * (W + 2p) * C, though the zeros are not in memory.
import numpy as np


def layer_cost(kind, H, W, C, M, k, s):
    p = k // 2
    Hp, Wp = H + 2 * p, W + 2 * p
    OH = (Hp - k) // s + 1
    OW = (Wp - k) // s + 1
    groups = C if kind == "depthwise" else 1
    weights = k * k * (C // groups) * M
    madds = OH * OW * weights
    read = Hp * Wp * C + weights
    written = OH * OW * M
    return madds, weights, 4 * (read + written)


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
