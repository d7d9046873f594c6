# the widening of a block with stride is counted at the output size, as if the stride were on it and not on the
# depthwise convolution.
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
    total = 112 * 112 * 3 * 3 * 3 * 32
    res, cin = 112, 32
    for t, c, n, s in rows:
        for i in range(n):
            stride = s if i == 0 else 1
            res = -(-res // stride)
            mid = cin * t
            pixels = res * res
            block = pixels * 3 * 3 * mid + pixels * mid * c
            if t != 1:
                block += pixels * cin * mid
            total += block
            cin = c
    total += res * res * cin * 1280
    total += 1280 * 1000
    return total
