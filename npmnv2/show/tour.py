"""The tour: what the package is, shown by running it. ``python -m npmnv2``."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from npmnv2 import cost, ops
from npmnv2.backends import backend
from npmnv2.data import load_digits
from npmnv2.data.augment import random_shift
from npmnv2.gradcheck.cases import Check, run
from npmnv2.models import mobilenet_v2
from npmnv2.nn.optim import RMSProp
from npmnv2.runtime.blas import limit_blas
from npmnv2.show.tables import epoch_header, epoch_line, gradient_table
from npmnv2.train.loop import train
from npmnv2.train.schedules import cosine_schedule

EPOCHS, RATE, SMOOTHING = 11, 0.004, 0.1


def tour(picture: str, say: Callable[[str], None] = print) -> bool:
    """Run the whole tour.

    Parameters
    ----------
    picture : str
        Where to save the picture at the end.
    say : callable
        Receives the lines of text.

    Returns
    -------
    bool
        Whether every check passed and the network learned what it should.
    """
    started = time.perf_counter()
    say("MobileNetV2 in plain NumPy, on one thread; nothing is compiled here.")
    say("")
    with backend("numpy"), limit_blas(1):
        _one_convolution(say)
        checks = _gradients(say)
        history, model, data = _training(say)
        say("")
        say("   Drawing; the very first time Matplotlib looks for fonts, which takes some seconds.")
        from npmnv2.show import plots  # here, not above: it is not quick

        plots.training(history, model, data, picture)
    say(f"   The picture: {picture} (training curves, depthwise filters, the hardest held-out digits).")
    say("")
    _what_next(say)
    say(f"Finished in {time.perf_counter() - started:.0f} s.")
    return all(check.passed for check in checks) and history[-1].test_accuracy >= 0.97


def _one_convolution(say: Callable[[str], None]) -> None:
    """The same 3x3 convolution as one loop with three operators, and what each costs."""
    H = W = 28
    C = M = 192
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, H, W, C)).astype(np.float32)
    w = rng.normal(size=(3, 3, C, M)).astype(np.float32)
    wd, wp = np.ascontiguousarray(w[:, :, :, 0]), np.ascontiguousarray(w[0, 0])

    say("1. One convolution, three ways")
    say("")
    say("   for i, j, seen in taps(geometry):       # the nine taps of a 3x3 kernel")
    say("       tap = xp[seen]                      # a shifted view of the image")
    say("       out += tap @ w[i, j]                # standard:  mixes space and channels")
    say("       out += tap * w[i, j]                # depthwise: space only, one number per channel")
    say("   out = x @ w                             # pointwise: channels only")
    say("")
    say(f"   {H}x{W} pixels, {C} channels in, {M} out; float32; NumPy on one thread; best of 5:")
    say("")
    say("                            parameters  multiply-adds  MAdds/byte     time")
    standard = cost.convolution("standard", H, W, C, M, batchnorm=False)
    depthwise = cost.convolution("depthwise", H, W, C, C, batchnorm=False)
    pointwise = cost.convolution("pointwise", H, W, C, M, batchnorm=False)
    t_standard = _best(lambda: ops.conv2d_forward(x, w, padding=1))
    t_depthwise = _best(lambda: ops.depthwise_conv2d_forward(x, wd, padding=1))
    t_pointwise = _best(lambda: ops.pointwise_conv2d_forward(x, wp))
    for name, c, seconds in (
        ("standard 3x3", standard, t_standard),
        ("depthwise 3x3", depthwise, t_depthwise),
        ("pointwise 1x1", pointwise, t_pointwise),
    ):
        say(f"   {name:<22} {c.parameters:>12,} {c.madds:>14,} {c.intensity:>11.1f} {1e3 * seconds:>5.1f} ms")
    madds = standard.madds / (depthwise.madds + pointwise.madds)
    seconds = t_standard / (t_depthwise + t_pointwise)
    say("")
    say(f"   Depthwise, then pointwise, replaces the standard one: {madds:.1f} times fewer multiply-adds,")
    say(f"   {seconds:.1f} times less time here. The depthwise half does little work a byte: memory sets its time.")
    diagonal = np.zeros((3, 3, C, C), np.float32)
    diagonal[:, :, np.arange(C), np.arange(C)] = wd
    equal = np.array_equal(
        ops.conv2d_forward(x, diagonal, padding=1)[0], ops.depthwise_conv2d_forward(x, wd, padding=1)[0]
    )
    say(f"   A depthwise convolution is a standard one with diagonal taps. Equal to the last bit: {equal}.")
    say("")


def _gradients(say: Callable[[str], None]) -> list[Check]:
    say("2. Every gradient, against a numerical one (float64)")
    say("")
    checks = run()
    for line in gradient_table(checks):
        say(f"   {line}")
    say("")
    return checks


def _training(say: Callable[[str], None]) -> Any:
    data = load_digits()
    model = mobilenet_v2(10, 0.35, strides="digits", in_channels=1, dropout=0.0)
    parameters = sum(p.value.size for p in model.parameters())
    say(f"3. A MobileNetV2 of width 0.35 ({parameters:,} parameters) learns to read handwritten digits")
    say("")
    say(f"   {len(data.train_x):,} images of 8x8 pixels to train on, {len(data.test_x)} held out; RMSProp.")
    say("   training: the share it got right while it learned, on shifted images; held out: the share after the")
    say("   epoch, on images as they are. After the first it is low: running averages lag behind.")
    say("")
    last = time.perf_counter()

    def note(line: str) -> None:
        nonlocal last
        last = time.perf_counter()
        say(f"   {line}")

    def after_step() -> None:  # a slow machine is not silent for longer
        if time.perf_counter() - last > 4:
            note("  ...")

    note(epoch_header(averaged=False))
    history = train(
        model,
        RMSProp(model.parameters(), RATE, decay=0.99, momentum=0.0, eps=1e-8, weight_decay=4e-5, form="pytorch"),
        data,
        EPOCHS,
        schedule=lambda step, steps: cosine_schedule(RATE, step, steps, warmup=steps // 20),
        label_smoothing=SMOOTHING,
        augment=random_shift,
        report=lambda epoch: note(epoch_line(epoch)),
        after_step=after_step,
    )
    return history, model, data


def _what_next(say: Callable[[str], None]) -> None:
    say("Read next:  npmnv2/mini.py: the whole network, its gradients and its training, on one page")
    say("            docs/index.md: the package in two afternoons")
    say("            npmnv2/ops/conv.py beside npmnv2/ops/depthwise.py: one loop, one operator changed")
    say("Run next:   python -m npmnv2 summary --width 1.0 --resolution 224")
    say("            python -m npmnv2 train --data digits --backend numpy --save digits.npz")
    say("Go faster:  python -m npmnv2 compile")
    say("            compiles the kernels, once: a minute or two. With them larger images are trained on and")
    say("            classified several times as fast; python -m npmnv2 summary --time says how fast here.")


def _best(f: Callable[[], Any], repeats: int = 5) -> float:
    times = []
    for _ in range(repeats + 1):  # the first one warms up
        started = time.perf_counter()
        f()
        times.append(time.perf_counter() - started)
    return min(times[1:])
