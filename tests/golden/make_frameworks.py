"""Make frameworks.npz, with torchvision, timm, Keras and transformers. From the folder tests/ run

    python -m golden.make_frameworks

Everything is float64, on the CPU; Keras runs on PyTorch (KERAS_BACKEND=torch).
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import torch
from golden import frameworks
from golden.frameworks import CLASSES, Case
from golden.recipe import Array
from golden.torchvision_models import torchvision

FILE = Path(__file__).parent / "frameworks.npz"


class Torch:
    """A network of PyTorch's: torchvision, timm or Hugging Face."""

    def __init__(self, case: Case, dtype: str = "float64", classes: int = CLASSES) -> None:
        self.net = _torch_network(case, classes).to(getattr(torch, dtype)).eval()

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(value.shape) for name, value in self.net.state_dict().items() if value.ndim}

    def load(self, state: dict[str, Array]) -> None:
        with torch.no_grad():
            for name, value in self.net.state_dict().items():  # counters are not touched
                if name in state:
                    value.copy_(torch.from_numpy(state[name]))

    def state(self) -> dict[str, Array]:
        return {name: value.numpy() for name, value in self.net.state_dict().items()}

    def logits(self, x: Array) -> Array:
        with torch.no_grad():
            out: Any = self.net(torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))))
        return np.array(getattr(out, "logits", out))


def _torch_network(case: Case, classes: int) -> Any:
    if case.names == "torchvision":
        return torchvision.models.mobilenet_v2(num_classes=classes, width_mult=case.width)
    if case.names == "timm":
        import timm

        version = "mobilenetv1" if case.architecture == "mobilenet_v1" else "mobilenetv2"
        return timm.create_model(f"{version}_{round(100 * case.width):03}", num_classes=classes)
    import transformers

    version = "MobileNetV1" if case.architecture == "mobilenet_v1" else "MobileNetV2"
    config = getattr(transformers, f"{version}Config")(num_labels=classes, depth_multiplier=case.width)
    return getattr(transformers, f"{version}ForImageClassification")(config)


@contextlib.contextmanager
def keras_in(dtype: str) -> Iterator[Any]:
    """Keras with numbers of this kind: it makes all others, a float64 weight or image too, into its `floatx`.

    Its batch norm asks a table what float64 and float32 make together, and there, on PyTorch, stands float32: it would
    compute in float32 whatever the layers' dtype.
    """
    import keras
    from keras.src.backend.common import dtypes

    table, before = dtypes.BIT64_TO_BIT32_DTYPE, dict(dtypes.BIT64_TO_BIT32_DTYPE)
    table["float64"] = "float64"
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    try:
        yield keras
    finally:
        table.update(before)
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


class Keras:
    """A network of keras.applications. Its strided layers are padded for one size of image: a network a size."""

    def __init__(self, case: Case, dtype: str = "float64", classes: int = CLASSES, size: int = 96) -> None:
        self.dtype = dtype
        with keras_in(dtype) as keras:
            version = "MobileNet" if case.architecture == "mobilenet_v1" else "MobileNetV2"
            arguments = {"alpha": case.width, "classes": classes, "input_shape": (size, size, 3)}
            self.net = getattr(keras.applications, version)(weights=None, classifier_activation=None, **arguments)

    def _variables(self) -> dict[str, Any]:
        return {f"{layer.name}/{v.name}": v for layer in self.net.layers for v in layer.weights}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(v.shape) for name, v in self._variables().items()}

    def load(self, state: dict[str, Array]) -> None:
        with keras_in(self.dtype):
            for name, variable in self._variables().items():
                variable.assign(state[name])

    def state(self) -> dict[str, Array]:
        return {name: variable.numpy() for name, variable in self._variables().items()}

    def logits(self, x: Array) -> Array:
        with keras_in(self.dtype) as keras:
            return np.array(keras.ops.convert_to_numpy(self.net(x, training=False)))


def build(case: Case, dtype: str = "float64", classes: int = CLASSES, size: int = 96) -> Torch | Keras:
    """The case in its library, with the weights of `frameworks.state`."""
    net = Keras(case, dtype, classes, size) if case.names == "keras" else Torch(case, dtype, classes)
    net.load({name: value.astype(dtype) for name, value in frameworks.state(net.shapes()).items()})
    return net


def results(case: Case) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for size in case.sizes:
        net = build(case, size=size)
        found[f"{case.id}/shapes"] = np.array(json.dumps(net.shapes()))
        found[f"{case.id}/{size}"] = net.logits(frameworks.images(size))
    return found


def main() -> None:
    import keras
    import timm
    import transformers

    versions = {m.__name__: m.__version__ for m in (torch, torchvision, timm, keras, transformers)}
    arrays: dict[str, Array] = {"versions": np.array(json.dumps(versions))}
    for case in frameworks.GOLDENS:
        arrays |= results(case)
        print(case.id, {name: value.std() for name, value in arrays.items() if name[-1].isdigit() and case.id in name})
    np.savez_compressed(FILE, **arrays)
    print(FILE.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
