"""Make efficientnet_lite.npz, with efficientnet_lite_pytorch. From the folder tests/ run

    python -m golden.make_efficientnet_lite

Everything is float64, on the CPU.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from golden import frameworks
from golden.lite import CLASSES, GOLDENS, Case, images, summary
from golden.recipe import Array, draw

FILE = Path(__file__).parent / "efficientnet_lite.npz"


def build(width: float = 1.0, depth: float = 1.0, classes: int = 1000, dtype: str = "float64") -> Any:
    """The library's network, in eval mode. Without an image size it pads as the image needs that it is given."""
    net = EfficientNet.from_name(
        "efficientnet-lite0",
        width_coefficient=width,
        depth_coefficient=depth,
        num_classes=classes,
        image_size=None,
        dropout_rate=0.0,
        drop_connect_rate=0.0,
    )
    return net.to(getattr(torch, dtype)).eval()


def load(net: Any) -> None:
    """Drawn weights, by their names."""
    named = {name: value for name, value in net.state_dict().items() if value.ndim}  # counters are not touched
    state = frameworks.state({name: tuple(value.shape) for name, value in named.items()})
    for name, value in named.items():
        value.copy_(torch.from_numpy(state[name]))


def tensor(x: Array) -> Any:
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def logits(net: Any, x: Array) -> Array:
    with torch.no_grad():
        return net(tensor(x)).numpy().copy()


def gradients(net: Any, x: Array, dlogits: Array, training: bool) -> dict[str, Array]:
    """Of every parameter, and of the images as "dx", by the library's names and in its layouts."""
    net.train(training)
    seen = tensor(x).requires_grad_()
    net(seen).backward(torch.from_numpy(dlogits))
    net.eval()
    return {**{name: p.grad.numpy().copy() for name, p in net.named_parameters()}, "dx": seen.grad.numpy().copy()}


def golden(case: Case) -> dict[str, Array]:
    net = build(case.width, case.depth, CLASSES)
    load(net)
    named = {name: list(value.shape) for name, value in net.state_dict().items() if value.ndim}
    result = {"shapes": np.array(json.dumps(named))}
    for size in case.sizes:
        result[f"logits/{size}"] = logits(net, images(size))
    x = images(case.sizes[-1])
    for mode in ("eval", "train"):
        net = build(case.width, case.depth, CLASSES)
        load(net)
        found = gradients(net, x, draw("dlogits", (len(x), CLASSES)), mode == "train")
        result[f"{mode}/gradients"] = np.array(list(summary(found).values()))  # (names, 2), "dx" last
    return result


def main() -> None:
    arrays = {f"{case.id}/{name}": value for case in GOLDENS for name, value in golden(case).items()}
    arrays["versions"] = np.array(f"torch {torch.__version__}, efficientnet_lite_pytorch 0.1.0, numpy {np.__version__}")
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
