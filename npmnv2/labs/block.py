"""The inverted residual, right or with mistakes in it: what a student's block may have computed instead.

A mistake is a flag. The functions below follow the specification step by step, and each flag changes one step. Which
flags a student's results show is found in `residual.py`.
"""

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from npmnv2.validate import Array

EXPANSION = ("we", "gamma1", "beta1")
EPS = 1e-5
STEPS = ("wide", "wide_norm", "wide_act", "filtered", "filtered_norm", "filtered_act", "narrow", "narrow_norm")
OTHER_EPS = ("0", "1e-3", "1e-4", "1e-6", "1e-7", "1e-8")
OTHER_CUTS: dict[str, tuple[float, float]] = {  # what somebody may take for ReLU6
    "relu-for-relu6": (0, np.inf),
    "cut-at-6-alone": (-np.inf, 6),
    "cut-at-1": (0, 1),
    "cut-at-minus-6": (-6, 6),
}
AXES = {"batch": (0, 1, 2), "an-image": (1, 2), "images": (0,), "channels": (3,), "all": (0, 1, 2, 3)}
BEFORE = {1: "wide", 2: "filtered", 3: "narrow"}  # what goes into each batch norm


def way_back(names: Iterable[str]) -> list[str]:
    """The names of the gradients, in the order in which a backward has them."""
    there = set(names)
    order = ("beta3", "gamma3", "wp", "beta2", "gamma2", "wd", "beta1", "gamma1", "we")
    return [name for name in order if name in there] + ["dx"]


# -- forward


def forward(x: Array, p: dict[str, Array], stride: int, made: Collection[str] = ()) -> dict[str, Array]:
    """Every step by its name, and `out`.

    Examples
    --------
    >>> p = {"wd": np.ones((3, 3, 1)), "wp": np.ones((1, 1))}
    >>> p |= {name: np.ones(1) for name in ("gamma2", "beta2", "gamma3", "beta3")}
    >>> list(forward(np.ones((1, 2, 2, 1)), p, 1))
    ['x', 'wide_act', 'filtered', 'filtered_norm', 'filtered_act', 'narrow', 'narrow_norm', 'out']
    """
    s: dict[str, Array] = {"x": x}
    every = np.s_[:, ::stride, ::stride]
    if "we" in p:
        s["wide"] = (x[every] if "stride-on-expand" in made else x) @ p["we"]
        s["wide_norm"], s["wide_act"] = _norm_and_act(s["wide"], p, 1, made)
    else:
        s["wide_act"] = _at_1(x, made)
    late = [flag for flag in ("stride-on-expand", "stride-on-project", "stride-at-the-end") if flag in made]
    s["filtered"] = depthwise(s["wide_act"], _kernel(p["wd"], made), 1 if late else stride)
    fits = s["wide_act"].shape == s["filtered"].shape
    if "shortcut-wide-0" in made and fits:
        s["filtered"] = s["filtered"] + s["wide_act"]
    s["filtered_norm"], s["filtered_act"] = _norm_and_act(s["filtered"], p, 2, made)
    if "shortcut-wide-1" in made and fits:
        s["filtered_act"] = _act(s["filtered_norm"] + s["wide_act"], 2, made)
    if "shortcut-wide-2" in made and fits:
        s["filtered_act"] = s["filtered_act"] + s["wide_act"]
    s["narrow"] = (s["filtered_act"][every] if "stride-on-project" in made else s["filtered_act"]) @ p["wp"]
    if "shortcut-early" in made and x.shape == s["narrow"].shape:
        s["narrow"] = s["narrow"] + x
    s["narrow_norm"] = norm(relu6(s["narrow"]) if "act-first-3" in made else s["narrow"], p, 3, made)
    out = s["narrow_norm"][every] if "stride-at-the-end" in made else s["narrow_norm"]
    out = relu6(out) if "relu6-at-the-end" in made else np.maximum(out, 0) if "relu-at-the-end" in made else out
    out = out + _shortcut(s, x, stride, out.shape, made)
    s["out"] = relu6(out) if "relu6-after-sum" in made else np.maximum(out, 0) if "relu-after-sum" in made else out
    return s


def _shortcut(s: dict[str, Array], x: Array, stride: int, shape: tuple[int, ...], made: Collection[str]) -> Array | int:
    """What is added to a block's output."""
    if "shortcut-missing" in made or "shortcut-early" in made:
        return 0
    every, C = np.s_[:, ::stride, ::stride], min(x.shape[-1], shape[-1])
    if stride == 1 and x.shape == shape:
        steps = {"relu6": relu6(x), **{name: a for name, a in s.items() if a.shape == shape}}
        begin = steps[_taken(made, "shortcut-from-", "x", steps)]
        return (2 if "shortcut-twice" in made else -1 if "shortcut-subtracted" in made else 1) * begin
    if "shortcut-sliced" in made and x[every].shape == shape:
        return x[every]
    if "shortcut-part" in made and stride == 1:
        return np.pad(x[..., :C], ((0, 0), (0, 0), (0, 0), (0, shape[-1] - C)))
    return 0


def _at_1(x: Array, made: Collection[str]) -> Array:
    """What the filter sees in a block that does not widen: x."""
    plain = {"gamma1": np.ones(x.shape[-1]), "beta1": np.zeros(x.shape[-1])}
    x = norm(x, plain, 1, ()) if "norm-at-1" in made else x
    return relu6(x) if "relu6-at-1" in made else x


def _norm_and_act(values: Array, p: dict[str, Array], k: int, made: Collection[str]) -> tuple[Array, Array]:
    if f"act-first-{k}" in made:
        normed = norm(_act(values, k, made), p, k, made)
        return normed, normed
    normed = norm(values, p, k, made)
    return normed, _act(normed, k, made)


def _act(values: Array, k: int, made: Collection[str]) -> Array:
    if f"activation-missing-{k}" in made:
        return values
    bounds = next((OTHER_CUTS[name] for name in OTHER_CUTS if f"{name}-{k}" in made), (0, 6))
    return np.clip(values, *bounds)


def relu6(x: Array) -> Array:
    """min(max(x, 0), 6)."""
    return np.minimum(np.maximum(x, 0), 6)


def norm(x: Array, p: dict[str, Array], k: int, made: Collection[str]) -> Array:
    """Batch norm k."""
    if f"norm-missing-{k}" in made:
        return x
    own = 3 - k if f"norm-other-pair-{k}" in made and "gamma1" in p else k
    gamma, beta = p[f"gamma{own}"], p[f"beta{own}"]
    if f"gamma-and-beta-{k}" in made:
        gamma, beta = beta, gamma
    if f"gamma-forgotten-{k}" in made:
        gamma = np.ones_like(gamma)
    if f"beta-forgotten-{k}" in made:
        beta = np.zeros_like(beta)
    axes = AXES[_taken(made, "norm-over-", "batch", AXES)]
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    m = x.size // mean.size
    if "count-minus-one" in made and m > 1:
        var = var * m / (m - 1)
    eps = float(_taken(made, "eps-is-", str(EPS), OTHER_EPS))
    if "not-normalised" in made or f"statistics-missing-{k}" in made:
        mean, std = np.zeros_like(mean), np.ones_like(var)
    elif "running-statistics" in made:
        mean, std = np.zeros_like(mean), np.sqrt(np.ones_like(var) + eps)
    elif "variance-for-root" in made:
        std = var + eps
    else:
        std = np.sqrt(var) + EPS if "eps-outside" in made else np.sqrt(var + eps)
    return (x - mean) / np.where(std > 0, std, np.inf) * gamma + beta


def depthwise(x: Array, w: Array, stride: int) -> Array:
    """Three rows and columns of taps, padding 1."""
    N, H, W, E = x.shape
    xp = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    out = np.zeros((N, (H - 1) // stride + 1, (W - 1) // stride + 1, E), x.dtype)
    for i in range(3):
        for j in range(3):
            out += xp[:, i : i + H : stride, j : j + W : stride] * w[i, j]
    return out


def _kernel(w: Array, made: Collection[str]) -> Array:
    w = w[::-1, ::-1] if "kernel-flipped" in made else w
    return w.swapaxes(0, 1) if "kernel-transposed" in made else w


# -- backward


def backward(
    dout: Array, s: dict[str, Array], p: dict[str, Array], stride: int, made: Collection[str] = ()
) -> dict[str, Array]:
    """The gradients by name, `dx` among them. `s` are the steps of a right forward: mistakes are in the way back."""
    x = s["x"]
    g: dict[str, Array] = {}
    d = _scaled(dout, made)
    if "mask-at-the-end" in made:
        d = d * _inside(s["narrow_norm"])
    after, d = d, _norm_back(d, s, p, 3, g, made)
    if "mask-at-the-end-late" in made:
        d = d * _inside(s["narrow_norm"])
    seen = s[_taken(made, "wp-from-", "filtered_act", s)]
    g["wp"] = _mixed(seen, after if "wp-early" in made else d, "wp", made)
    d = d @ p["wp"].T
    early, d = d, _act_and_norm_back(d, s, p, 2, g, made)
    seen = s[_taken(made, "wd-from-", "wide_act", [name for name in s if s[name].shape == s["wide_act"].shape])]
    back = 1 if "stride-1-back" in made else stride
    filtered, g["wd"] = _depthwise_back(d, seen, p["wd"], back)
    if "wd-early" in made or "wd-early-masked" in made:
        early = _mask_back(early, s, 2, made) if "wd-early-masked" in made else early
        g["wd"] = _depthwise_back(early, seen, p["wd"], back)[1]
    if "depthwise-unturned" in made and stride == 1:
        filtered = depthwise(d, p["wd"], 1)
    d = d if "depthwise-passed-by" in made and stride == 1 else filtered
    if "we" in p:
        early, d = d, _act_and_norm_back(d, s, p, 1, g, made)
        early = _mask_back(early, s, 1, made) if "we-early-masked" in made else early
        g["we"] = _mixed(x, early if "we-early" in made or "we-early-masked" in made else d, "we", made)
        d = d @ p["we"].T
    elif "relu6-at-1" in made:
        d = d * _inside(x)
    if stride == 1 and dout.shape == x.shape and "shortcut-missing" not in made:
        d = d * 0 if "shortcut-only" in made else d
        if "shortcut-after-norm" in made:
            after = _norm_back(after, s, p, 3, {}, made)
        if "shortcut-masked" in made:
            after = after * _inside(s["out"])
        d = d + (2 if "shortcut-twice" in made else -1 if "shortcut-subtracted" in made else 1) * after
    g["dx"] = d
    return g


def _scaled(dout: Array, made: Collection[str]) -> Array:
    N, OH, OW, M = dout.shape
    sizes = {"dout-over-N": N, "dout-over-pixels": N * OH * OW, "dout-over-all": dout.size, "dout-over-OHOW": OH * OW}
    return dout / np.prod([size for flag, size in sizes.items() if flag in made])


def _taken(made: Collection[str], start: str, otherwise: str, there: Collection[str]) -> str:
    """What a flag names after its start, if it is there."""
    named = sorted(flag.removeprefix(start) for flag in made if flag.startswith(start))
    return next((step for step in named if step in there), otherwise)


def _mixed(a: Array, d: Array, name: str, made: Collection[str]) -> Array:
    """The gradient of a pointwise convolution's weights."""
    images = {"first-image": np.s_[:1], "last-image": np.s_[-1:], "all": np.s_[:]}
    chosen = images[_taken(made, f"{name}-of-", "all", images)]
    return np.tensordot(a[chosen], d[chosen], ((0, 1, 2), (0, 1, 2)))


def _inside(a: Array) -> Array:
    return (a > 0) & (a < 6)


def _act_and_norm_back(
    d: Array, s: dict[str, Array], p: dict[str, Array], k: int, g: dict[str, Array], made: Collection[str]
) -> Array:
    if f"mask-late-{k}" in made:
        d = _norm_back(d, s, p, k, g, made)
        return _mask_back(d, s, k, made)
    return _norm_back(_mask_back(d, s, k, made), s, p, k, g, made)


def _mask_back(d: Array, s: dict[str, Array], k: int, made: Collection[str]) -> Array:
    """ReLU6's backward."""
    v = s[BEFORE[k] + "_norm"]
    other = s.get(BEFORE[3 - k] + "_norm", v)
    other = other if other.shape == v.shape else v
    masks: dict[str, Any] = {
        "mask-missing": 1.0,
        "mask-of-relu": v > 0,
        "mask-below-6": v < 6,
        "mask-other-side": v >= 6,
        "mask-below-0": v <= 0,
        "mask-above-0-and-6": (v <= 0) | (v >= 6),
        "mask-before-norm": _inside(s[BEFORE[k]]),
        "mask-before-norm-of-relu": s[BEFORE[k]] > 0,
        "mask-of-other": _inside(other),
        "mask-of-gradient": d > 0,
        "mask-of-gradient-6": _inside(d),
        "mask-times-value": relu6(v),
        "mask-at-1": (v > 0) & (v < 1),
    }
    if f"relu6-of-gradient-{k}" in made:
        return relu6(d)
    mask = next((masks[name] for name in masks if f"{name}-{k}" in made), _inside(v))
    return d * mask


def _norm_back(
    d: Array, s: dict[str, Array], p: dict[str, Array], k: int, g: dict[str, Array], made: Collection[str]
) -> Array:
    """Batch norm's backward; what went into it is `wide`, `filtered` or `narrow`."""
    steps = {f"norm-of-norm-{k}": "_norm", f"norm-of-act-{k}": "_act"}
    v = s[BEFORE[k] + next((end for flag, end in steps.items() if flag in made), "")]
    gamma = p[f"gamma{k}"]
    if f"gamma-is-beta-{k}" in made:
        gamma = p[f"beta{k}"]
    if f"gamma-of-other-{k}" in made and k != 3 and "gamma1" in p:
        gamma = p[f"gamma{3 - k}"]
    if f"gamma-missing-{k}" in made:
        gamma = np.ones_like(gamma)
    axes, m = (0, 1, 2), v.size // v.shape[-1]
    mean, std = v.mean(axes), np.sqrt(v.var(axes) + EPS)
    xhat = (v - mean) / std
    dbeta, dgamma = d.sum(axes), (d * xhat).sum(axes)
    g[f"beta{k}"], g[f"gamma{k}"] = dbeta, dgamma
    if f"dgamma-by-x-{k}" in made:
        g[f"gamma{k}"] = (d * v).sum(axes)
    if f"dgamma-by-out-{k}" in made:
        g[f"gamma{k}"] = (d * s[BEFORE[k] + "_norm"]).sum(axes)
    if f"norm-passed-by-{k}" in made:
        return d
    if f"std-missing-{k}" in made:
        std = np.ones_like(std)
    through = d
    if f"statistics-constant-{k}" not in made:
        through = through if f"mean-term-missing-{k}" in made else through - dbeta / m
        through = through if f"variance-term-missing-{k}" in made else through - xhat * dgamma / m
    return gamma / std * through


def _depthwise_back(d: Array, x: Array, w: Array, stride: int) -> tuple[Array, Array]:
    xp = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    dxp, dw = np.zeros_like(xp), np.zeros_like(w)
    OH, OW = d.shape[1:3]
    for i in range(3):
        for j in range(3):
            seen = np.s_[:, i : i + stride * OH : stride, j : j + stride * OW : stride]
            dxp[seen] += d * w[i, j]
            dw[i, j] = (xp[seen] * d).sum((0, 1, 2))
    return dxp[:, 1:-1, 1:-1], dw
