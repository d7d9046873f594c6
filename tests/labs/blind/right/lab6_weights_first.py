# Right: the array shapes of the weights are written down, np.prod does the rest; the network by recursion over its blocks.
import numpy as np


def layer_cost(kind, H, W, C, M, k, s):
    shape = {"standard": (k, k, C, M), "depthwise": (k, k, C), "pointwise": (C, M), "linear": (C, M)}[kind]
    OH = int(np.ceil(H / s))
    OW = int(np.ceil(W / s))
    weights = int(np.prod(shape))
    inputs, outputs = int(np.prod((H, W, C))), int(np.prod((OH, OW, M)))
    return OH * OW * weights, weights, 4 * (inputs + weights + outputs)


def network_cost(rows):
    blocks = [(t, c, s if i == 0 else 1) for t, c, n, s in rows for i in range(n)]

    def rest(blocks, h, C):
        if not blocks:
            return h * h * C * 1280 + 1280 * 1000
        (t, c, s), later = blocks[0], blocks[1:]
        E = t * C
        small = (h - 1) // s + 1
        cost = (h * h * C * E if t != 1 else 0) + small * small * E * (9 + c)
        return cost + rest(later, small, c)

    return 112 * 112 * 27 * 32 + rest(blocks, 112, 32)
