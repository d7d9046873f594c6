"""Known wrong backwards, planted: the checks of the real gradients reject every one.

A check that no wrong gradient fails proves nothing. Each mutant below is the right backward with one classic bug. They
are judged by `cases.check_depthwise` and `cases.check_batchnorm`, the functions that judge the real ones; and then by
the check that one writes first (square image, stride 1, everything ones), to show what that is worth.
"""

import pathlib
import re

import numpy as np
import pytest
from cases import BATCHES, CONVS, check_batchnorm, check_depthwise, implementations

from npmnv2 import gradcheck, ops
from npmnv2.ops.padding import pad_forward
from npmnv2.shapes import taps

pytestmark = pytest.mark.usefixtures("one_thread")


def depthwise(
    *,
    dw_tap=lambda tap, dout: np.einsum("nyxc,nyxc->c", tap, dout),
    dx_tap=lambda dout, w, i, j: dout * w[i, j],
    keep=lambda i, j, g: True,
    seen_dx=lambda i, j, seen, g: seen,
    seen_dw=lambda i, j, seen, g: seen,
    add=True,
    crop=lambda dxp, g: dxp[:, g.pads[0][0] :, g.pads[1][0] :][:, : g.H, : g.W],
    pads=lambda g: g.pads,
    dout_seen=lambda dout, g: dout,
):
    """The right depthwise backward as parts, of which a mutant replaces one."""

    def backward(dout, cache):
        x, w, g = cache
        dout = dout_seen(dout, g)
        xp, _ = pad_forward(x, pads(g))
        dxp, dw = np.zeros(xp.shape), np.zeros(w.shape)
        for i, j, seen in taps(g):
            if keep(i, j, g):
                dw[i, j] = dw_tap(xp[seen_dw(i, j, seen, g)], dout)
                part, where = dx_tap(dout, w, i, j), seen_dx(i, j, seen, g)
                dxp[where] = dxp[where] + part if add else part
        return np.ascontiguousarray(crop(dxp, g)), dw

    return backward


def _seen(i, j, g, stride=None, dilation=None):
    """What tap (i, j) would see under another stride or dilation."""
    s, d = stride or g.stride, dilation or g.dilation
    return (
        slice(None),
        slice(d * i, d * i + s * (g.OH - 1) + 1, s),
        slice(d * j, d * j + s * (g.OW - 1) + 1, s),
    )


def _swapped(w):
    """w with its two axes exchanged, for every tap that both have."""
    KH, KW, _ = w.shape
    k = min(KH, KW)
    w = w.copy()
    w[:k, :k] = w[:k, :k].transpose(1, 0, 2).copy()
    return w


def _shifted(dout, axis):
    return np.roll(dout, 1, axis)


def _inside(dout, g):
    """dout, without the windows that hang over the border."""
    (top, _), (left, _) = g.pads
    dout = dout.copy()
    for axis, before, size, reach, windows in (
        (1, top, g.H, g.dilation * (g.KH - 1), g.OH),
        (2, left, g.W, g.dilation * (g.KW - 1), g.OW),
    ):
        for k in range(windows):
            start = g.stride * k - before
            if start < 0 or start + reach >= size:
                dout[(slice(None),) * axis + (k,)] = 0
    return dout


def _dw_under_dilation_1(dout, cache):
    dx, dw = ops.depthwise_conv2d_backward(dout, cache)
    x, w, g = cache
    xp, _ = pad_forward(x, g.pads)
    for i, j in np.ndindex(g.KH, g.KW):
        dw[i, j] = np.einsum("nyxc,nyxc->c", xp[_seen(i, j, g, dilation=1)], dout)
    return dx, dw


def _crop(dxp, g, rows, cols):
    return dxp[:, rows:, cols:][:, : g.H, : g.W]


DEPTHWISE = {
    "stride forgotten in dx": depthwise(seen_dx=lambda i, j, seen, g: _seen(i, j, g, stride=1)),
    "stride forgotten in dw": depthwise(seen_dw=lambda i, j, seen, g: _seen(i, j, g, stride=1)),
    "kernel flipped in dx": depthwise(dx_tap=lambda dout, w, i, j: dout * w[::-1, ::-1][i, j]),
    "kernel not moved: tap 0 everywhere": depthwise(dx_tap=lambda dout, w, i, j: dout * w[0, 0]),
    "padding cropped at the other side": depthwise(crop=lambda dxp, g: _crop(dxp, g, g.pads[0][1], g.pads[1][1])),
    "padding cropped by top on both axes": depthwise(crop=lambda dxp, g: _crop(dxp, g, g.pads[0][0], g.pads[0][0])),
    "padding not cropped": depthwise(crop=lambda dxp, g: _crop(dxp, g, 0, 0)),
    "asymmetric pads swapped": depthwise(pads=lambda g: tuple(side[::-1] for side in g.pads)),
    "H and W exchanged in w": depthwise(dx_tap=lambda dout, w, i, j: dout * _swapped(w)[i, j]),
    "dw averaged over the batch": depthwise(
        dw_tap=lambda tap, dout: np.einsum("nyxc,nyxc->c", tap, dout) / len(tap),
    ),
    "dw averaged over pixels": depthwise(dw_tap=lambda tap, dout: (tap * dout).mean(axis=(0, 1, 2))),
    "dw of the first image only": depthwise(dw_tap=lambda tap, dout: (tap * dout)[0].sum(axis=(0, 1))),
    "dw summed over channels": depthwise(
        dw_tap=lambda tap, dout: np.full(tap.shape[3], (tap * dout).sum()),
    ),
    "dw correlates dout with itself": depthwise(dw_tap=lambda tap, dout: (dout * dout).sum(axis=(0, 1, 2))),
    "last tap dropped": depthwise(keep=lambda i, j, g: (i, j) != (g.KH - 1, g.KW - 1)),
    "last row of taps dropped": depthwise(keep=lambda i, j, g: i < max(g.KH - 1, 1)),
    "assigned instead of added": depthwise(add=False),
    "dilation ignored in dx": depthwise(seen_dx=lambda i, j, seen, g: _seen(i, j, g, dilation=1)),
    "dilation ignored in dw": _dw_under_dilation_1,
    "channels reversed": depthwise(dx_tap=lambda dout, w, i, j: dout * w[i, j, ::-1]),
    "one channel's filter for all": depthwise(dx_tap=lambda dout, w, i, j: dout * w[i, j, 0]),
    "dout one row off": depthwise(dout_seen=lambda dout, g: _shifted(dout, 1)),
    "dout one column off": depthwise(dout_seen=lambda dout, g: _shifted(dout, 2)),
    "border windows skipped": depthwise(dout_seen=_inside),
    "dx returned where x belongs: zeros": lambda dout, cache: (np.zeros(cache.x.shape), np.zeros(cache.w.shape)),
}


def depthwise_verdict(backward):
    """What the real check says: None if it is content, else its complaint."""
    for case in CONVS:
        try:
            check_depthwise(ops.depthwise_conv2d_forward, backward, case)
        except AssertionError as complaint:
            return str(complaint)
    return None


def test_the_right_depthwise_backwards_pass():
    for backward in (depthwise(), *implementations("depthwise_conv2d_backward")):
        assert depthwise_verdict(backward) is None


@pytest.mark.parametrize("mutant", DEPTHWISE)
def test_depthwise_mutant_is_rejected(mutant):
    assert "is wrong: relative error" in depthwise_verdict(DEPTHWISE[mutant])


def weak_check_passes(backward, ones=True):
    """The check one writes first: a square image of one colour channel, 3x3, stride 1, padding 1, all ones."""
    x, w = np.ones((1, 5, 5, 1)), np.ones((3, 3, 1))
    out, cache = ops.depthwise_conv2d_forward(x, w, padding=1)
    dout = np.ones_like(out) if ones else np.random.default_rng(0).normal(size=out.shape)
    dx, dw = backward(dout, cache)
    right_dx = gradcheck.numerical_gradient(lambda x: ops.depthwise_conv2d_forward(x, w, padding=1)[0], x, dout)
    right_dw = gradcheck.numerical_gradient(lambda w: ops.depthwise_conv2d_forward(x, w, padding=1)[0], w, dout)
    return np.allclose(dx, right_dx) and np.allclose(dw, right_dw)


def test_squares_and_ones_let_most_mutants_pass():
    assert weak_check_passes(ops.depthwise_conv2d_backward)
    passed = [name for name, backward in DEPTHWISE.items() if weak_check_passes(backward)]
    assert len(DEPTHWISE) == 25
    assert len(passed) == 17, f"{len(passed)} of {len(DEPTHWISE)} mutants pass the weak check: {passed}"
    # a random dout alone catches two more; it is the shapes that catch the rest
    assert sum(weak_check_passes(backward, ones=False) for backward in DEPTHWISE.values()) == 15


# -- batch norm


def batchnorm(
    *,
    dmean=lambda dbeta, m: dbeta / m,
    dvar=lambda xhat, dgamma, m: xhat * (dgamma / m),
    scale=lambda cache: cache.gamma * cache.inv_std,
    count=lambda m: m,
    inv_std=lambda cache: cache.inv_std,
    results=lambda dx, dgamma, dbeta: (dx, dgamma, dbeta),
):
    """The right closed form as parts, of which a mutant replaces one."""

    def backward(dout, cache):
        axes = tuple(range(dout.ndim - 1))
        m = count(dout.size // dout.shape[-1])
        xhat = (cache.x - cache.mean) * inv_std(cache)
        dbeta, dgamma = dout.sum(axis=axes), (dout * xhat).sum(axis=axes)
        dx = scale(cache) * (dout - dmean(dbeta, m) - dvar(xhat, dgamma, m))
        return results(dx, dgamma, dbeta)

    return backward


BATCHNORM = {
    "no dmean term": batchnorm(dmean=lambda dbeta, m: 0),
    "no dvar term": batchnorm(dvar=lambda xhat, dgamma, m: 0),
    "statistics taken for constants": batchnorm(dmean=lambda dbeta, m: 0, dvar=lambda xhat, dgamma, m: 0),
    "m - 1 for m": batchnorm(count=lambda m: m - 1),
    "gamma forgotten": batchnorm(scale=lambda cache: cache.inv_std),
    "inv_std forgotten": batchnorm(scale=lambda cache: cache.gamma),
    "eps forgotten": batchnorm(inv_std=lambda cache: 1 / np.sqrt(cache.var)),
    "var for std": batchnorm(inv_std=lambda cache: 1 / (cache.var + cache.eps)),
    "sign of the dvar term": batchnorm(dvar=lambda xhat, dgamma, m: -xhat * (dgamma / m)),
    "dbeta and dgamma swapped": batchnorm(results=lambda dx, dgamma, dbeta: (dx, dbeta, dgamma)),
    "dgamma averaged": batchnorm(results=lambda dx, dgamma, dbeta: (dx, dgamma / dx[..., 0].size, dbeta)),
    "dx is zeros": batchnorm(results=lambda dx, dgamma, dbeta: (np.zeros_like(dx), dgamma, dbeta)),
    "m counts one axis": lambda dout, cache: batchnorm(count=lambda m: dout.shape[0])(dout, cache),
}


def batchnorm_verdict(backward):
    for shape in BATCHES:
        try:
            check_batchnorm(ops.batchnorm_forward, backward, shape)
        except AssertionError as complaint:
            return str(complaint)
    return None


def test_the_right_batchnorm_backwards_pass():
    for backward in (batchnorm(), ops.batchnorm_backward_steps, *implementations("batchnorm_backward")):
        assert batchnorm_verdict(backward) is None


@pytest.mark.parametrize("mutant", BATCHNORM)
def test_batchnorm_mutant_is_rejected(mutant):
    assert "is wrong: relative error" in batchnorm_verdict(BATCHNORM[mutant])


def test_ones_let_a_dx_of_zeros_pass():
    """Why ones are forbidden: a constant dout gives dx = 0, so whatever only scales dx passes, zeros too."""
    x = np.random.default_rng(0).normal(size=(2, 3, 3, 1))
    _, cache = ops.batchnorm_forward(x, np.ones(1), np.zeros(1))
    dout = np.ones_like(x)
    right = ops.batchnorm_backward(dout, cache)
    passed = [
        name
        for name, backward in BATCHNORM.items()
        if all(np.allclose(a, b, atol=1e-6) for a, b in zip(backward(dout, cache), right, strict=True))
    ]
    assert np.abs(right[0]).max() < 1e-12
    assert "dx is zeros" in passed
    assert len(passed) == 8, f"{len(passed)} of {len(BATCHNORM)} mutants pass under ones: {passed}"


def test_no_other_test_uses_ones():
    """An upstream gradient of ones is forbidden, but for the demonstrations above."""
    ones = re.compile(r"(\bd(out|y|logits)\s*=\s*|_?backward\(\s*)np\.(ones|full)(_like)?\(")
    assert ones.search("dout = np.ones_like(out)") and ones.search("layer.backward(np.ones((2, 3)))")
    for path in sorted(pathlib.Path(__file__).parent.glob("**/*.py")):
        if path.name != pathlib.Path(__file__).name and path.parent.parent.name != "blind":  # those are mistakes
            found = ones.search(path.read_text(encoding="utf-8"))
            assert not found, f"{path.name}: {found.group()}"
