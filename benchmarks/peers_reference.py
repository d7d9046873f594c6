"""What every contestant of `peers.py` and `scaling.py` must give: the results of NumPy in float64."""

import functools
import math

import numpy as np
from common.measure import WRONG, wrong
from peers_contestants import images, labels, some, step_of
from peers_report import label


@functools.cache
def _model(path):
    import npmnv2

    return npmnv2.weights.load_model(path, dtype=np.float64).eval()


@functools.cache
def _logits(folder, width, size, k):
    """Of image k, by NumPy in float64."""
    import npmnv2

    with npmnv2.backend("numpy"):
        return _model(f"{folder}/{width}.npz")(images(size, k + 1)[k:].astype(np.float64))


@functools.cache
def _step(folder, width, size, N):
    import npmnv2

    model = npmnv2.weights.load_model(f"{folder}/{width}.npz", dtype=np.float64)
    with npmnv2.backend("numpy"):
        return step_of(model, images(size, N).astype(np.float64), labels(N)).result()


def reference(case, folder):
    what, width, size, N = case
    if what == "training":
        return _step(folder, width, size, N)
    return (np.concatenate([_logits(folder, width, size, k) for k in some(N)]),)


def agree(got, exact):
    """Whether results are equal to the rounding of float32, array by array.

    That of a gradient is carried through 52 layers, where it moves values across the kinks of ReLU6 (PyTorch's channels
    last, whose batch norm adds less exactly, was seen half a per cent off), and some gradients are zero but for it (the
    shift of a linear bottleneck, which the next batch norm takes away); so their mean size counts a little too.
    """
    if [a.shape for a in got] != [e.shape for e in exact]:
        return False
    if len(exact) == 1:
        return bool(np.abs(got[0] - exact[0]).max() <= 5e-5 * np.abs(exact[0]).max())
    gradients = 1 + 158  # the loss stands before them; the rest is what the step leaves
    sizes = [float(np.linalg.norm(e)) for e in exact]
    mean = math.sqrt(sum(size**2 for size in sizes[1:gradients]) / (gradients - 1))
    allowed = [1e-4 * sizes[0]]
    allowed += [2e-2 * size + 1e-3 * mean for size in sizes[1:gradients]]
    allowed += [1e-3 * size + 1e-6 for size in sizes[gradients:]]
    return all(np.linalg.norm(g - e) <= a for g, e, a in zip(got, exact, allowed, strict=True))


def check(name, way, path, case, folder, missing=None):
    """End with an error unless what was saved is right; a peer is only named, in `missing`, where that is given."""
    with np.load(path) as saved:
        if agree([saved[key] for key in saved.files], reference(case, folder)):
            return
    if missing is None or name == "npmnv2":
        wrong(f"{name}, {way}, {label(case)}")
    missing[f"{name}, {label(case)}"] = WRONG
