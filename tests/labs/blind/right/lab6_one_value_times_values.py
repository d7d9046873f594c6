# Right: products of one output value times the number of output values; windows counted with len(range(...)).
import numpy as np

SUM_OVER = {
    "standard": lambda C, k: C * k * k,
    "depthwise": lambda C, k: k * k,
    "pointwise": lambda C, k: C,
    "linear": lambda C, k: C,
}


def layer_cost(kind, H, W, C, M, k, s):
    values = len(range(0, H, s)) * len(range(0, W, s)) * M
    terms = SUM_OVER[kind](C, k)
    floats = values + terms * M + H * W * C
    return values * terms, terms * M, floats << 2


def network_cost(rows):
    layers = [("standard", 224, 3, 32, 3, 2)]
    size, C = 112, 32
    for t, c, n, s in rows:
        for stride in (s,) + (1,) * (n - 1):
            if t != 1:
                layers.append(("pointwise", size, C, t * C, 1, 1))
            layers.append(("depthwise", size, t * C, t * C, 3, stride))
            size = len(range(0, size, stride))
            layers.append(("pointwise", size, t * C, c, 1, 1))
            C = c
    layers += [("pointwise", size, C, 1280, 1, 1), ("linear", 1, 1280, 1000, 1, 1)]
    return sum(layer_cost(kind, h, h, *rest)[0] for kind, h, *rest in layers)
