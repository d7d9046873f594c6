"""Lab 5: right solutions written in many ways, and a bank of mistakes that are really made."""

from labs.bank import Wrong, edited

from npmnv2 import labs

GIVEN, NETWORK = labs.stub(5).split("# %% [markdown]\n# ## Yours")
NETWORK = NETWORK[NETWORK.index("# %% [markdown]") :]

NAMED = (
    GIVEN
    + """
def block_forward(x, p, stride):
    c = {"x": x, "p": p, "stride": stride}
    if "we" in p:
        c["wide"] = x @ p["we"]
        c["wide_norm"] = batchnorm(c["wide"], p["gamma1"], p["beta1"])
        c["wide_act"] = relu6(c["wide_norm"])
    else:
        c["wide_act"] = x
    c["filtered"] = depthwise(c["wide_act"], p["wd"], stride)
    c["filtered_norm"] = batchnorm(c["filtered"], p["gamma2"], p["beta2"])
    c["filtered_act"] = relu6(c["filtered_norm"])
    c["narrow"] = c["filtered_act"] @ p["wp"]
    c["narrow_norm"] = batchnorm(c["narrow"], p["gamma3"], p["beta3"])
    c["shortcut"] = stride == 1 and x.shape[-1] == p["wp"].shape[1]
    out = c["narrow_norm"]
    if c["shortcut"]:
        out = out + x
    return out, c

def block_backward(dout, cache):
    c, p, grads = cache, cache["p"], {}
    d, grads["gamma3"], grads["beta3"] = batchnorm_backward(dout, c["narrow"], p["gamma3"])
    M, E = d.shape[-1], p["wp"].shape[0]
    grads["wp"] = c["filtered_act"].reshape(-1, E).T @ d.reshape(-1, M)
    d = d @ p["wp"].T
    d = d * ((c["filtered_norm"] > 0) & (c["filtered_norm"] < 6))
    d, grads["gamma2"], grads["beta2"] = batchnorm_backward(d, c["filtered"], p["gamma2"])
    d, grads["wd"] = depthwise_backward(d, c["wide_act"], p["wd"], c["stride"])
    if "we" in p:
        d = d * ((c["wide_norm"] > 0) & (c["wide_norm"] < 6))
        d, grads["gamma1"], grads["beta1"] = batchnorm_backward(d, c["wide"], p["gamma1"])
        grads["we"] = np.einsum("nyxc,nyxe->ce", c["x"], d)
        d = d @ p["we"].T
    if c["shortcut"]:
        d = d + dout
    return d, grads
"""
)

TUPLES = (
    GIVEN
    + """
def forward_unit(x, w, gamma, beta, convolve, active):
    y = convolve(x, w)
    z = batchnorm(y, gamma, beta)
    return (np.clip(z, 0, 6) if active else z), (x, w, gamma, y, z)

def backward_unit(d, cache, back, active):
    x, w, gamma, y, z = cache
    if active:
        d = np.where((0 < z) & (z < 6), d, 0)
    d, dgamma, dbeta = batchnorm_backward(d, y, gamma)
    d, dw = back(d, x, w)
    return d, dw, dgamma, dbeta

def pointwise(x, w):
    return np.tensordot(x, w, 1)

def pointwise_back(d, x, w):
    return np.tensordot(d, w, (3, 1)), np.tensordot(x, d, ((0, 1, 2), (0, 1, 2)))

def block_forward(x, p, stride):
    first, a = None, x
    if p.get("we") is not None:
        a, first = forward_unit(a, p["we"], p["gamma1"], p["beta1"], pointwise, True)
    a, second = forward_unit(a, p["wd"], p["gamma2"], p["beta2"], lambda x, w: depthwise(x, w, stride), True)
    a, third = forward_unit(a, p["wp"], p["gamma3"], p["beta3"], pointwise, False)
    add = a.shape == x.shape and stride == 1
    return (a + x if add else a), (first, second, third, stride, add)

def block_backward(dout, cache):
    first, second, third, stride, add = cache
    g = {}
    d, g["wp"], g["gamma3"], g["beta3"] = backward_unit(dout, third, pointwise_back, False)
    back = lambda d, x, w: depthwise_backward(d, x, w, stride)
    d, g["wd"], g["gamma2"], g["beta2"] = backward_unit(d, second, back, True)
    if first:
        d, g["we"], g["gamma1"], g["beta1"] = backward_unit(d, first, pointwise_back, True)
    return (d + dout if add else d), g
"""
)

CLOSURE = (
    GIVEN
    + """
def block_forward(x, p, stride):
    back, a = [], x

    def normalise(a, k):
        y, gamma = a, p["gamma" + k]

        def f(d, g):
            d, g["gamma" + k], g["beta" + k] = batchnorm_backward(d, y, gamma)
            return d

        back.append(f)
        return batchnorm(y, gamma, p["beta" + k])

    def cut(a):
        passed = (a > 0) * (a < 6)
        back.append(lambda d, g: d * passed)
        return relu6(a)

    def mix(a, name):
        w = p[name]

        def f(d, g):
            g[name] = sum(a[n].reshape(-1, w.shape[0]).T @ d[n].reshape(-1, w.shape[1]) for n in range(len(a)))
            return d @ w.T

        back.append(f)
        return a @ w

    def filter_(a):
        def f(d, g):
            d, g["wd"] = depthwise_backward(d, a, p["wd"], stride)
            return d

        back.append(f)
        return depthwise(a, p["wd"], stride)

    if "we" in p:
        a = cut(normalise(mix(a, "we"), "1"))
    a = cut(normalise(filter_(a), "2"))
    a = normalise(mix(a, "wp"), "3")
    fits = stride == 1 and a.shape == x.shape

    def cache(dout):
        d, g = dout, {}
        for f in back[::-1]:
            d = f(d, g)
        return (d + dout, g) if fits else (d, g)

    return a + x * fits if fits else a, cache

def block_backward(dout, cache):
    return cache(dout)
"""
)

CLASS = """
import numpy as np

class Norm:
    def __init__(self, gamma, beta):
        self.gamma, self.beta = gamma, beta

    def __call__(self, x):
        self.m = x[..., 0].size
        rows = x.reshape(self.m, -1)
        centred = rows - rows.sum(0) / self.m
        self.inv = ((centred**2).sum(0) / self.m + 1e-5) ** -0.5
        self.hat = (centred * self.inv).reshape(x.shape)
        return self.gamma * self.hat + self.beta

    def back(self, d):
        self.dbeta = d.sum((0, 1, 2))
        self.dgamma = np.einsum("nyxc,nyxc->c", d, self.hat)
        return (d - (self.dbeta + self.hat * self.dgamma) / self.m) * (self.gamma * self.inv)

class Block:
    # windows, loops over pixels, no function that was given
    def __init__(self, p, stride):
        self.p, self.s = p, stride
        self.norms = {k: Norm(p["gamma" + k], p["beta" + k]) for k in "123" if "gamma" + k in p}

    def forward(self, x):
        p, s = self.p, self.s
        self.x = self.a = x
        if "we" in p:
            self.u = self.norms["1"](np.einsum("nyxc,ce->nyxe", x, p["we"]))
            self.a = np.maximum(0, np.minimum(6, self.u))
        self.ap = np.pad(self.a, [(0, 0), (1, 1), (1, 1), (0, 0)])
        OH, OW = -(-x.shape[1] // s), -(-x.shape[2] // s)
        v = np.empty((len(x), OH, OW, self.a.shape[3]), x.dtype)
        for y in range(OH):
            for z in range(OW):
                v[:, y, z] = (self.ap[:, s * y : s * y + 3, s * z : s * z + 3] * p["wd"]).sum((1, 2))
        self.v = self.norms["2"](v)
        self.b = self.v.clip(0, 6)
        out = self.norms["3"](np.einsum("nyxe,em->nyxm", self.b, p["wp"]))
        self.same = s == 1 and p["wp"].shape[1] == x.shape[3]
        return x + out if self.same else out

    def backward(self, dout):
        p, s, n = self.p, self.s, self.norms
        d = n["3"].back(dout)
        grads = {"wp": np.einsum("nyxe,nyxm->em", self.b, d)}
        d = d @ p["wp"].T
        d[(self.v <= 0) | (self.v >= 6)] = 0
        d = n["2"].back(d)
        dap, grads["wd"] = np.zeros_like(self.ap), np.zeros_like(p["wd"])
        for y in range(d.shape[1]):
            for z in range(d.shape[2]):
                here = np.s_[:, s * y : s * y + 3, s * z : s * z + 3]
                dap[here] += d[:, y : y + 1, z : z + 1] * p["wd"]
                grads["wd"] += (self.ap[here] * d[:, y : y + 1, z : z + 1]).sum(0)
        d = dap[:, 1:-1, 1:-1]
        if "we" in p:
            d = n["1"].back(np.where(np.logical_and(self.u > 0, self.u < 6), d, 0))
            grads["we"] = np.einsum("nyxc,nyxe->ce", self.x, d)
            d = np.einsum("nyxe,ce->nyxc", d, p["we"])
        for k in n:
            grads["gamma" + k], grads["beta" + k] = n[k].dgamma, n[k].dbeta
        return dout + d if self.same else d, grads

def block_forward(x, p, stride):
    block = Block(p, stride)
    return block.forward(x), block

def block_backward(dout, cache):
    return cache.backward(dout)
"""

AGAIN = (
    GIVEN
    + """
def steps(x, p, stride):
    a = [x]
    if "we" in p:
        a += [x @ p["we"]]
        a += [batchnorm(a[-1], p["gamma1"], p["beta1"])]
        a += [relu6(a[-1])]
    a += [depthwise(a[-1], p["wd"], stride)]
    a += [batchnorm(a[-1], p["gamma2"], p["beta2"])]
    a += [relu6(a[-1])]
    a += [a[-1] @ p["wp"]]
    return a

def fits(x, p, stride):
    return stride == 1 and x.shape[-1] == p["beta3"].size

def block_forward(x, p, stride):
    # nothing is kept but the arguments: the backward computes the steps again
    out = batchnorm(steps(x, p, stride)[-1], p["gamma3"], p["beta3"])
    if fits(x, p, stride):
        out += x
    return out, [x, p, stride]

def block_backward(dout, cache):
    x, p, stride = cache
    a = steps(x, p, stride)
    flat = lambda v: v.reshape(-1, v.shape[-1])
    g = dict.fromkeys(p)
    d, g["gamma3"], g["beta3"] = batchnorm_backward(dout, a.pop(), p["gamma3"])
    g["wp"] = (flat(d).T @ flat(a[-1])).T
    # ReLU6 passed on what its output is strictly between 0 and 6 for
    d = (d @ p["wp"].T) * (a[-1] > 0) * (a.pop() < 6)
    a.pop()
    d, g["gamma2"], g["beta2"] = batchnorm_backward(d, a.pop(), p["gamma2"])
    d, g["wd"] = depthwise_backward(d, a[-1], p["wd"], stride)
    if "we" in p:
        d = d * (a[-1] > 0) * (a.pop() < 6)
        a.pop()
        d, g["gamma1"], g["beta1"] = batchnorm_backward(d, a.pop(), p["gamma1"])
        g["we"] = flat(x).T @ flat(d)
        d = d @ p["we"].T
    return d + dout * fits(x, p, stride) if fits(x, p, stride) else d, g
"""
)

RIGHT = {
    "a dict with the table's names": NAMED,
    "units, and tuples": TUPLES,
    "a list of closures": CLOSURE,
    "a class, windows and einsum": CLASS,
    "the steps computed again": AGAIN,
}


def _wrong(name, cause, *changes, of=NAMED):
    return Wrong(name, cause, edited(of, *changes))


MASK_2 = 'd = d * ((c["filtered_norm"] > 0) & (c["filtered_norm"] < 6))'
MASK_1 = 'd = d * ((c["wide_norm"] > 0) & (c["wide_norm"] < 6))'
ADD = "        out = out + x\n"
BACK = "        d = d + dout\n"
FITS = 'stride == 1 and x.shape[-1] == p["wp"].shape[1]'

# Written while the grader was.
FIRST = [
    _wrong("no shortcut", "shortcut-missing", (ADD, "        pass\n")),
    _wrong("shortcut at stride 2", "raises", (FITS, 'x.shape[-1] == p["wp"].shape[1]')),
    _wrong(
        "shortcut at stride 2, sliced",
        "shortcut-extra",
        (FITS, 'x.shape[-1] == p["wp"].shape[1]'),
        (ADD, "        out = out + x[:, ::stride, ::stride]\n"),
    ),
    _wrong("shortcut where C is not M", "raises", (FITS, "stride == 1")),
    _wrong("shortcut's gradient missing", "shortcut-gradient-missing", (BACK, "        pass\n")),
    _wrong("shortcut's gradient alone", "shortcut-gradient-only", (BACK, "        d = dout\n")),
    _wrong("shortcut's gradient doubled", "shortcut-gradient-factor", (BACK, "        d = d + 2 * dout\n")),
    _wrong(
        "ReLU6 after the projection",
        "activation-at-the-end",
        ('out = c["narrow_norm"]', 'out = relu6(c["narrow_norm"])'),
    ),
    _wrong("ReLU6 after the sum", "activation-at-the-end", ("return out, c", "return relu6(out), c")),
    _wrong("no ReLU6 after the filter", "activation-missing", ('relu6(c["filtered_norm"])', 'c["filtered_norm"]')),
    _wrong("no ReLU6 after the expansion", "activation-missing", ('relu6(c["wide_norm"])', 'c["wide_norm"]')),
    _wrong("ReLU for ReLU6", "relu-for-relu6", ("return np.minimum(np.maximum(x, 0), 6)", "return np.maximum(x, 0)")),
    _wrong(
        "expansion at t = 1", "key-missing", ('    if "we" in p:\n        c["wide"]', '    if True:\n        c["wide"]')
    ),
    _wrong("ReLU6 at t = 1", "expansion-at-1", ('c["wide_act"] = x', 'c["wide_act"] = relu6(x)')),
    _wrong(
        "stride on the expansion",
        "stride-misplaced",
        ('x @ p["we"]', 'x[:, ::stride, ::stride] @ p["we"]'),
        ('p["wd"], stride)\n    c["filtered_norm"]', 'p["wd"], 1 if "we" in p else stride)\n    c["filtered_norm"]'),
    ),
    _wrong(
        "stride on the projection",
        "stride-misplaced",
        ('depthwise(c["wide_act"], p["wd"], stride)', 'depthwise(c["wide_act"], p["wd"], 1)'),
        ('c["filtered_act"] @', 'c["filtered_act"][:, ::stride, ::stride] @'),
    ),
    _wrong(
        "stride ignored",
        "wrong-shape",
        ('depthwise(c["wide_act"], p["wd"], stride)', 'depthwise(c["wide_act"], p["wd"], 1)'),
    ),
    _wrong("mask of ReLU", "mask-of-relu", (MASK_2, 'd = d * (c["filtered_norm"] > 0)')),
    _wrong("mask from the wrong side", "mask-wrong-side", (MASK_2, 'd = d * (c["filtered_norm"] >= 6)')),
    _wrong("mask turned round", "mask-wrong-side", (MASK_1, 'd = d * ((c["wide_norm"] <= 0) | (c["wide_norm"] >= 6))')),
    _wrong("mask of pre-norm values", "mask-of-other", (MASK_2, 'd = d * ((c["filtered"] > 0) & (c["filtered"] < 6))')),
    _wrong("no mask after the filter", "mask-missing", (f"    {MASK_2}\n", "")),
    _wrong("no mask after the expansion", "mask-missing", (f"        {MASK_1}\n", "")),
    _wrong(
        "mask with equals", "mask-missing", (MASK_2, 'd = d * ((c["filtered_act"] >= 0) & (c["filtered_act"] <= 6))')
    ),
    _wrong(
        "batch norm after the projection left out",
        "batchnorm-missing",
        ('batchnorm(c["narrow"], p["gamma3"], p["beta3"])', 'c["narrow"]'),
    ),
    _wrong(
        "activation before batch norm",
        "activation-before-norm",
        (
            'batchnorm(c["filtered"], p["gamma2"], p["beta2"])',
            'batchnorm(relu6(c["filtered"]), p["gamma2"], p["beta2"])',
        ),
        ('relu6(c["filtered_norm"])', 'c["filtered_norm"]'),
    ),
    _wrong(
        "shortcut before the batch norm",
        "shortcut-misplaced",
        ('c["filtered_act"] @ p["wp"]', f'c["filtered_act"] @ p["wp"] + (x if {FITS} else 0)'),
        (ADD, "        pass\n"),
    ),
    _wrong(
        "shortcut between the wide ends",
        "shortcut-misplaced",
        ('relu6(c["filtered_norm"])', f'relu6(c["filtered_norm"]) + (c["wide_act"] if {FITS} else 0)'),
        (ADD, "        pass\n"),
    ),
    _wrong("grads lack beta3", "wrong-keys", ("    return d, grads", '    del grads["beta3"]\n    return d, grads')),
    _wrong(
        "grads named dwe", "wrong-keys", ("    return d, grads", '    return d, {"d" + k: v for k, v in grads.items()}')
    ),
    _wrong(
        "gamma1 and gamma2 exchanged",
        "exchanged",
        (
            "    return d, grads",
            '    if "we" in p:\n        grads.update(gamma1=grads["gamma2"], gamma2=grads["gamma1"])\n'
            "    return d, grads",
        ),
    ),
    _wrong(
        "gamma and beta exchanged",
        "exchanged",
        ('d, grads["gamma2"], grads["beta2"]', 'd, grads["beta2"], grads["gamma2"]'),
    ),
    _wrong(
        "dout changed",
        "input-changed",
        (
            '    if c["shortcut"]:\n        d = d + dout',
            '    dout *= 2\n    if c["shortcut"]:\n        d = d + dout / 2',
        ),
    ),
    _wrong("p changed", "input-changed", ('    c["filtered"]', '    p["wd"] -= p["wd"].mean()\n    c["filtered"]')),
    _wrong(
        "the cache is a global",
        "cache-overwritten",
        ('    c = {"x": x, "p": p, "stride": stride}', "    c = KEPT\n    c.update(x=x, p=p, stride=stride)"),
        ("def block_forward", "KEPT = {}\n\ndef block_forward"),
    ),
    _wrong(
        "unbiased variance",
        "count-minus-one",
        ("x.var(axis=(0, 1, 2)) + 1e-5)\n    return xhat", "x.var(axis=(0, 1, 2), ddof=1) + 1e-5)\n    return xhat"),
    ),
]

# Written after the grader was done. On the first run 39 of the first 40 were named as expected, and one was named truly
# where another cause had been expected. The last ten came together with what names them.
LATER = [
    _wrong(
        "shortcut where there is expansion alone",
        "shortcut-missing",
        (FITS, 'stride == 1 and "we" in p and x.shape[-1] == p["wp"].shape[1]'),
    ),
    _wrong(
        "x overwritten on the way",
        "shortcut-misplaced",
        ('c["wide_act"] = x', 'c["wide_act"] = x\n        x = depthwise(x, p["wd"], stride)'),
    ),
    _wrong("shortcut from x after ReLU6", "shortcut-misplaced", (ADD, "        out = out + relu6(x)\n")),
    _wrong("shortcut in place", "input-changed", (ADD, "        x += out\n        out = x\n")),
    _wrong(
        "the second ReLU6 alone is ReLU",
        "relu-for-relu6",
        ('relu6(c["filtered_norm"])', 'np.maximum(c["filtered_norm"], 0)'),
    ),
    _wrong(
        "ReLU at the end, as ResNet has it", "activation-at-the-end", ("return out, c", "return np.maximum(out, 0), c")
    ),
    _wrong(
        "ReLU6 before the last batch norm",
        "activation-before-norm",
        ('batchnorm(c["narrow"], p["gamma3"]', 'batchnorm(relu6(c["narrow"]), p["gamma3"]'),
    ),
    _wrong(
        "no batch norm after the filter",
        "batchnorm-missing",
        (
            'c["filtered_norm"] = batchnorm(c["filtered"], p["gamma2"], p["beta2"])',
            'c["filtered_norm"] = c["filtered"]',
        ),
    ),
    _wrong(
        "gamma1 after the filter",
        "exchanged",
        (
            'batchnorm(c["filtered"], p["gamma2"], p["beta2"])',
            'batchnorm(c["filtered"], p.get("gamma1", p["gamma2"]), p.get("beta1", p["beta2"]))',
        ),
    ),
    _wrong(
        "gamma and beta exchanged in the forward",
        "exchanged",
        ('batchnorm(c["narrow"], p["gamma3"], p["beta3"])', 'batchnorm(c["narrow"], p["beta3"], p["gamma3"])'),
    ),
    _wrong("out alone", "wrong-type", ("return out, c", "return out")),
    _wrong("dx alone", "wrong-type", ("    return d, grads", "    return d")),
    _wrong("grads first", "wrong-type", ("    return d, grads", "    return grads, d")),
    _wrong("grads as a list", "wrong-type", ("    return d, grads", "    return d, list(grads.values())")),
    _wrong("dx among grads", "wrong-keys", ("    return d, grads", '    grads["x"] = d\n    return d, grads')),
    _wrong(
        "gamma1 at t = 1",
        "wrong-keys",
        ("    return d, grads", '    grads.setdefault("gamma1", 0)\n    return d, grads'),
    ),
    _wrong(
        "wp transposed",
        "transposed",
        (
            'c["filtered_act"].reshape(-1, E).T @ d.reshape(-1, M)',
            '(c["filtered_act"].reshape(-1, E).T @ d.reshape(-1, M)).T',
        ),
    ),
    _wrong(
        "wp from values before ReLU6",
        "wrong-array",
        ('c["filtered_act"].reshape(-1, E).T', 'c["filtered_norm"].reshape(-1, E).T'),
    ),
    _wrong(
        "wd from values before ReLU6",
        "wrong-array",
        ('depthwise_backward(d, c["wide_act"]', 'depthwise_backward(d, c.get("wide_norm", c["wide_act"])'),
    ),
    _wrong(
        "batch norm's backward of its output",
        "norm-of-output",
        ('batchnorm_backward(d, c["filtered"], ', 'batchnorm_backward(d, c["filtered_norm"], '),
    ),
    _wrong(
        "batch norm's backward of ReLU6's output",
        "norm-of-output",
        ('batchnorm_backward(d, c["wide"], ', 'batchnorm_backward(d, c["wide_act"], '),
    ),
    _wrong(
        "the last batch norm's backward of its output",
        "norm-of-output",
        ('batchnorm_backward(dout, c["narrow"], ', 'batchnorm_backward(dout, c["narrow_norm"], '),
    ),
    _wrong(
        "gamma2's backward with gamma1",
        "exchanged",
        ('batchnorm_backward(d, c["wide"], p["gamma1"])', 'batchnorm_backward(d, c["wide"], p["gamma2"])'),
    ),
    _wrong(
        "the mask after batch norm",
        "mask-late",
        (f"    {MASK_2}\n", ""),
        ('    d, grads["wd"]', f"    {MASK_2}\n" + '    d, grads["wd"]'),
    ),
    _wrong("the mask of the gradient", "mask-of-other", (MASK_2, "d = d * ((d > 0) & (d < 6))")),
    _wrong("ReLU6 of the gradient", "mask-of-other", (MASK_2, "d = relu6(d)")),
    _wrong("multiplied by the output of ReLU6", "mask-of-other", (MASK_1, 'd = d * c["wide_act"]')),
    _wrong(
        "the filter's mask twice",
        "mask-of-other",
        (
            MASK_1,
            'm = c["wide_norm" if c["stride"] > 1 else "filtered_norm"]\n        d = d * ((m > 0) & (m < 6))',
        ),
    ),
    _wrong(
        "a mask at the end",
        "mask-extra",
        ("    c, p, grads =", '    v = cache["narrow_norm"]\n    dout = dout * ((v > 0) & (v < 6))\n    c, p, grads ='),
    ),
    _wrong(
        "no way back through the filter",
        "step-missing",
        ('    d, grads["wd"] = depthwise', '    _, grads["wd"] = depthwise'),
    ),
    _wrong(
        "batch norm's backward passed by",
        "step-missing",
        ('d, grads["gamma2"], grads["beta2"] = batch', '_, grads["gamma2"], grads["beta2"] = batch'),
    ),
    _wrong(
        "the shortcut's gradient after the batch norm",
        "shortcut-gradient-other",
        ("    M, E =", "    dout = d\n    M, E ="),
    ),
    _wrong(
        "the mean over images",
        "averaged",
        ('np.einsum("nyxc,nyxe->ce", c["x"], d)', 'np.einsum("nyxc,nyxe->ce", c["x"], d) / 77'),
    ),
    _wrong(
        "divided by the images", "averaged", ("c, p, grads = cache", "dout = dout / len(dout)\n    c, p, grads = cache")
    ),
    _wrong(
        "gamma2 twice",
        "exchanged",
        ("    return d, grads", '    if "we" in p:\n        grads["gamma1"] = grads["gamma2"]\n    return d, grads'),
    ),
    _wrong(
        "a gradient of zeros",
        "zero",
        ("    return d, grads", '    grads["wd"] = np.zeros_like(p["wd"])\n    return d, grads'),
    ),
    _wrong(
        "two at once, forward",
        "activation-at-the-end",
        ('relu6(c["filtered_norm"])', 'c["filtered_norm"]'),
        ('out = c["narrow_norm"]', 'out = relu6(c["narrow_norm"])'),
    ),
    _wrong("two at once, backward", "mask-missing", (f"    {MASK_2}\n", ""), (BACK, "        pass\n")),
    _wrong(
        "float32 inside",
        "precision",
        ('c["wide_norm"] = batchnorm(c["wide"]', 'c["wide_norm"] = batchnorm(c["wide"].astype(np.float32)'),
    ),
    _wrong(
        "the last forward's steps",
        "cache-overwritten",
        ("    return out, c", "    LAST.clear()\n    LAST.update(c)\n    return out, None"),
        ("c, p, grads = cache, cache", "cache = LAST\n    c, p, grads = cache, cache"),
        ("def block_forward", "LAST = {}\n\ndef block_forward"),
    ),
    _wrong("half of the shortcut's gradient", "shortcut-gradient-factor", (BACK, "        d = d + dout / 2\n")),
    _wrong("the mean of x and out", "shortcut-factor", (ADD, "        out = (out + x) / 2\n")),
    _wrong("values below 0 pass", "relu6-wrong", ("np.minimum(np.maximum(x, 0), 6)", "np.minimum(x, 6)")),
    _wrong(
        "the last image alone",
        "image-lost",
        ('np.einsum("nyxc,nyxe->ce", c["x"], d)', 'c["x"][-1].reshape(-1, len(p["we"])).T @ d[-1].reshape(-1, E)'),
    ),
    _wrong(
        "a product of sums",
        "zero",
        (
            'c["filtered_act"].reshape(-1, E).T @ d.reshape(-1, M)',
            'np.outer(c["filtered_act"].sum((0, 1, 2)), d.sum((0, 1, 2)))',
        ),
    ),
    _wrong("wp with dout", "wrong-array", (".T @ d.reshape(-1, M)", ".T @ dout.reshape(-1, M)")),
    _wrong("hard cut at other places", "unexplained", ("np.minimum(np.maximum(x, 0), 6)", "np.tanh(x)")),
    _wrong("nothing returned", "wrong-type", ("    return d, grads", "    grads")),
    _wrong(
        "dx forgotten where there is no shortcut",
        "wrong-type",
        ('    if c["shortcut"]:\n        d = d + dout', '    d = d + dout if c["shortcut"] else None'),
    ),
    _wrong(
        "p changed on the way back", "input-changed", ("    return d, grads", '    p["wp"] *= 0.5\n    return d, grads')
    ),
]
