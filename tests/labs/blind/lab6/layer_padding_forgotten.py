# the output size is that of a convolution without padding, (H - k) // s + 1.
import numpy as np


def layer_cost(kind, H, W, C, M, k, s):
    def conv_size(n):
        return (n - k) // s + 1

    OH, OW = conv_size(H), conv_size(W)
    products = {"standard": k * k * C, "depthwise": k * k, "pointwise": C, "linear": C}[kind]
    weights = products * M
    madds = OH * OW * M * products
    nbytes = 4 * (H * W * C + OH * OW * M + weights)
    return madds, weights, nbytes


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
