# Right: output size by the padded formula (k is odd), one pixel's cost times the pixels, two-dimensional sizes all through.
import numpy as np


def size_after(n, k, s):
    return (n + 2 * (k // 2) - k) // s + 1


def layer_cost(kind, H, W, C, M, k, s):
    OH, OW = size_after(H, k, s), size_after(W, k, s)
    if kind == "depthwise":
        weights = sum(k * k for _ in range(C))
    elif kind == "standard":
        weights = M * (k * k * C)
    elif kind == "pointwise" or kind == "linear":
        weights = M * C
    else:
        raise ValueError(kind)
    madds = weights * OH * OW
    total = 0
    for floats in (H * W * C, weights, OH * OW * M):
        total += floats * 4
    return madds, weights, total


def network_cost(rows):
    total = layer_cost("standard", 224, 224, 3, 32, 3, 2)[0]
    H = W = size_after(224, 3, 2)
    C = 32
    for t, c, n, s in rows:
        for number in range(1, n + 1):
            here = s if number == 1 else 1
            E = C * t
            expand = layer_cost("pointwise", H, W, C, E, 1, 1)[0]
            total += expand * (t != 1)
            total += layer_cost("depthwise", H, W, E, E, 3, here)[0]
            H, W = size_after(H, 3, here), size_after(W, 3, here)
            total += layer_cost("pointwise", H, W, E, c, 1, 1)[0]
            C = c
    head = layer_cost("pointwise", H, W, C, 1280, 1, 1)[0]
    classifier = layer_cost("linear", 1, 1, 1280, 1000, 1, 1)[0]
    return int(total + head + classifier)
