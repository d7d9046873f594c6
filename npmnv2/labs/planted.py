"""The backwards that a student's check is tried on, right and wrong, and why a check may not see what is wrong.

They are given to the student's process as source, since the functions run there. The calls that the check makes come
back. Here they are made again, with the right backward beside the wrong one: if no call shows a difference, the inputs
hide the mistake, and what they have in common says how. If a call does show one, the check does not look at it, or not
closely. So what is said is what was seen.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from npmnv2.labs import rejected
from npmnv2.labs.lab import NoCause, Wrong
from npmnv2.labs.product import Finding
from npmnv2.validate import Array

FORWARD = """
import numpy as np

def forward(x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    xp = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    OH, OW = (H + 2 * pad - KH) // stride + 1, (W + 2 * pad - KW) // stride + 1
    out = np.zeros((N, OH, OW, C), np.result_type(x, w))
    for i in range(KH):
        for j in range(KW):
            rows = slice(i, i + stride * (OH - 1) + 1, stride)
            cols = slice(j, j + stride * (OW - 1) + 1, stride)
            out += xp[:, rows, cols] * w[i, j]
    return out
"""
BACKWARD = """
import numpy as np

def backward(dout, x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    OH, OW = dout.shape[1:3]
    xp = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    dtype = np.result_type(dout, x, w)
    dxp, dw = np.zeros(xp.shape, dtype), np.zeros(w.shape, dtype)
    for i in range(KH):
        for j in range(KW):
            rows = slice(i, i + stride * (OH - 1) + 1, stride)
            cols = slice(j, j + stride * (OW - 1) + 1, stride)
            dw[i, j] = (xp[:, rows, cols] * dout).sum(axis=(0, 1, 2))
            dxp[:, rows, cols] += dout * w[i, j]
    return dxp[:, pad : pad + H, pad : pad + W], dw
"""
OTHERWISE = """
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

def backward(dout, x, w, stride, pad):
    xp = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = sliding_window_view(xp, w.shape[:2], axis=(1, 2))[:, ::stride, ::stride]
    dx = np.zeros(xp.shape, np.result_type(dout, x, w))
    for y in range(dout.shape[1]):
        for b in range(dout.shape[2]):
            top, left = stride * y, stride * b
            dx[:, top : top + w.shape[0], left : left + w.shape[1]] += dout[:, y, b][:, None, None] * w
    return dx[:, pad : pad + x.shape[1], pad : pad + x.shape[2]], np.einsum("nyxcij,nyxc->ijc", windows, dout)
"""


_ALTERED = """
{right}
{other}
def backward(*given):
    return tuple({made} for k, (a, b) in enumerate(zip(right(*given), other(*given))))
"""
MOST_WORK = 1 << 21  # products of a call that is made again


class Call(NamedTuple):
    """A call of `backward` that the student's check has made."""

    dout: Array
    x: Array
    w: Array
    stride: int
    pad: int


class Planted(NamedTuple):
    """A backward: the right one with pieces replaced."""

    title: str  # for people: what a check must do
    wrong: str  # what is wrong with it; empty if nothing is
    changes: tuple[tuple[str, str], ...] = ()
    hidden_by: tuple[str, ...] = ()  # facts about all calls that can hide it: see FACTS
    source: str = BACKWARD

    def text(self) -> str:
        text = self.source
        for old, new in self.changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        return text


_DX, _DW = "dxp[:, rows, cols] += dout * w[i, j]", "(xp[:, rows, cols] * dout).sum(axis=(0, 1, 2))"
_RETURN = "return dxp[:, pad : pad + H, pad : pad + W], dw"

PLANTED = {
    "right": Planted("accept a right backward", ""),
    "otherwise": Planted("accept a right backward that is written otherwise", "", source=OTHERWISE),
    "zero": Planted("reject a dx of zeros", "dx is zero", ((_DX, "pass"),), ("dout-zero",)),
    "dw": Planted("reject a wrong dw", "dw is twice as large as it must be", ((_DW, f"2 * {_DW}"),), ("dout-zero",)),
    "dout": Planted(
        "reject a backward that does not look at dout closely",
        "dout is replaced by its mean",
        (("    OH, OW = dout", "    dout = np.full(dout.shape, dout.mean())\n    OH, OW = dout"),),
        ("dout-constant",),
    ),
    "channels": Planted(
        "reject mixed channels",
        "dx takes the weights of the channels in reverse",
        ((_DX, "dxp[:, rows, cols] += dout * w[i, j, ::-1]"),),
        ("one-channel", "weights-alike"),
    ),
    "images": Planted(
        "reject a sum over one image",
        "dw has the first image alone",
        ((_DW, "(xp[0, rows, cols] * dout[0]).sum(axis=(0, 1))"),),
        ("one-image",),
    ),
    "order": Planted(
        "reject what has the right sum, in the wrong places",
        "dx has the images in reverse",
        ((_RETURN, "return dxp[::-1, pad : pad + H, pad : pad + W], dw"),),
        ("one-image",),
    ),
    "flipped": Planted(
        "reject a flipped kernel",
        "dx takes the taps in reverse",
        ((_DX, "dxp[:, rows, cols] += dout * w[KH - 1 - i, KW - 1 - j]"),),
        ("one-tap", "weights-alike"),
    ),
    "stride": Planted(
        "reject an ignored stride",
        "dx ignores the stride",
        ((_DX, "dxp[:, i : i + OH, j : j + OW] += dout * w[i, j]"),),
        ("stride-never-2",),
    ),
    "padding": Planted(
        "reject a wrong crop",
        "dx is cropped from the wrong place",
        ((_RETURN, "return dxp[:, :H, :W], dw"),),
        ("padding-never",),
    ),
    "square": Planted(
        "reject height for width",
        "dx has as many rows of windows as there are columns",
        (
            (
                _DX,
                "rows = slice(i, i + stride * (min(OH, OW) - 1) + 1, stride)\n"
                "            dxp[:, rows, cols] += dout[:, :OW] * w[i, j]",
            ),
        ),
        ("never-higher",),
    ),
    "assigned": Planted(
        "reject an assignment",
        "dx keeps only the last of the products that meet in a pixel",
        ((_DX, "dxp[:, rows, cols] = dout * w[i, j]"),),
        ("no-overlap",),
    ),
    "corner": Planted(
        "reject one wrong pixel",
        "the last pixel of dx lacks a part of it",
        ((_RETURN, "dxp[:, pad + H - 1, pad + W - 1] *= 0.5\n    return dxp[:, pad : pad + H, pad : pad + W], dw"),),
    ),
    "little": Planted(
        "reject an error of one in a thousand",
        "dx is too large by a thousandth",
        ((_DX, "dxp[:, rows, cols] += 1.001 * dout * w[i, j]"),),
    ),
}


def _alike(a: Array) -> bool:
    return bool(np.ptp(a) == 0)


FACTS: dict[str, tuple[Callable[[Call], bool], str]] = {
    "dout-zero": (lambda c: not c.dout.any(), "dout was zero"),
    "dout-constant": (lambda c: _alike(c.dout), "dout was the same everywhere"),
    "one-channel": (lambda c: c.x.shape[3] == 1, "there was one channel"),
    "one-image": (lambda c: c.x.shape[0] == 1, "there was one image"),
    "one-tap": (lambda c: c.w.shape[0] == c.w.shape[1] == 1, "the kernel had one tap"),
    "weights-alike": (
        lambda c: np.array_equal(c.w, c.w[::-1, ::-1]) or np.array_equal(c.w, c.w[:, :, ::-1]),
        "the weights were the same in reverse",
    ),
    "stride-never-2": (lambda c: c.stride == 1, "the stride was 1"),
    "padding-never": (lambda c: c.pad == 0, "the padding was 0"),
    "never-higher": (lambda c: c.dout.shape[1] <= c.dout.shape[2], "dout was not higher than wide"),
    "no-overlap": (lambda c: c.stride >= max(c.w.shape[:2]), "no two windows had a pixel in common"),
}


def function(source: str, name: str) -> Callable[..., Any]:
    """A function of a source of this file."""
    space: dict[str, Any] = {}
    exec(source, space)
    found: Callable[..., Any] = space[name]
    return found


def explain(wrong: Wrong) -> Finding:
    """Why a check accepts what is wrong, or rejects what is right."""
    planted = PLANTED[wrong.case.sizes["backward"]]
    if not planted.wrong:
        return rejected.explain(wrong)
    what = f"In this backward {planted.wrong}, and your check accepts it"
    seen = [entry for entry in wrong.seen if isinstance(entry, dict) and "dout" in entry]
    if not seen:
        return Finding("never-called", f"{what}: it never called backward.")
    calls = [call for entry in seen if (call := _call(entry)) is not None]
    if len(calls) < len(seen):
        return Finding("unexplained", f"{what}.")
    differences = [_difference(planted, call) for call in calls]
    if not all(found is not None and np.isfinite(found).all() for found in differences):
        return Finding("unexplained", f"{what}.")
    largest = max(d for found in differences if found for d in found)
    if largest < 1e-12:
        for fact in planted.hidden_by:
            test, says = FACTS[fact]
            if all(map(test, calls)):
                return Finding(fact, f"{what}: in every call of backward {says}, and then the result is right.")
        return Finding("unexplained", f"{what}: with your inputs it gives the right result.")
    name = "dx" if largest == max(found[0] for found in differences if found) else "dw"
    by = f"{largest:.1g} of" if largest < 0.95 else "as much as" if largest < 1.5 else f"{largest:.1g} times"
    says = f"{what}: in one of your calls {name} was wrong by {by} its largest value."
    if largest < 0.01:
        return Finding("tolerance-loose", says)
    try:
        finding = _comparison(wrong, planted, name)
    except NoCause:
        finding = Finding("not-compared", "")
    return Finding(finding.cause, f"{says} {finding.says}".strip())


def _comparison(wrong: Wrong, planted: Planted, name: str) -> Finding:
    """Other errors of the same result: which of them does the check reject?"""

    def rejects(returned: str) -> bool:
        source = _ALTERED.format(right=_named(BACKWARD, "right"), other=_named(planted.text(), "other"), made=returned)
        forward, backward = wrong.arguments
        return bool(wrong.call((forward, {**backward, "source": source}))[0])

    place = ("dx", "dw").index(name)
    up, down = (rejects(f"a + {sign}1000 * (1 + np.abs(a).max()) * (k == {place})") for sign in "+-")
    if up != down:
        large, small = ("large", "small") if down else ("small", "large")
        says = f"If all of {name} is too {large}, your check accepts that as well; if it is too {small}, it does not."
        return Finding("one-sided", says)
    if up and rejects("a + 1000 * (b - a)"):
        return Finding("tolerance-loose", "An error a thousand times as large it rejects.")
    return Finding("not-compared", "")


def _named(source: str, name: str) -> str:
    return source.replace("def backward(", f"def {name}(")


def _call(entry: Any) -> Call | None:
    """What came from the student's process, if it is such a call, and a small one."""
    if not isinstance(entry, dict) or set(entry) != set(Call._fields):
        return None
    dout, x, w = arrays = [entry[name] for name in ("dout", "x", "w")]
    if not all(isinstance(a, np.ndarray) and a.size for a in arrays) or [a.ndim for a in arrays] != [4, 4, 3]:
        return None
    stride, pad = entry["stride"], entry["pad"]
    if not all(isinstance(n, int | np.integer) for n in (stride, pad)) or not (1 <= stride <= 64 and 0 <= pad <= 64):
        return None
    border = x.shape[0] * x.shape[3] * (x.shape[1] + 2 * int(pad)) * (x.shape[2] + 2 * int(pad))
    work = (border + dout.size) * w.shape[0] * w.shape[1]
    return Call(dout, x, w, int(stride), int(pad)) if work < MOST_WORK else None


def _difference(planted: Planted, call: Call) -> tuple[float, float] | None:
    """By how much dx and dw are wrong in this call."""
    try:
        right, mine = (function(text, "backward")(*call) for text in (BACKWARD, planted.text()))
        found = [
            float(np.max(np.abs(a - b)) / max(np.max(np.abs(a)), 1e-300)) for a, b in zip(right, mine, strict=True)
        ]
    except (ValueError, IndexError, TypeError):
        return None
    return found[0], found[1]
