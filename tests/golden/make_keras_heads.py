"""Make keras_heads.zip, with Keras on PyTorch. From the folder tests/ run

KERAS_BACKEND=torch python -m golden.make_keras_heads
"""

import io
import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import h5py
import numpy as np
from golden import frameworks, keras_heads
from golden.make_frameworks import keras_in
from golden.recipe import Array


def build(keras: Any, case: str, width: float = 0.1, size: int = 96, classes: int = 5) -> Any:
    """A model as people build it to fine-tune a network; with random weights."""
    layers, applications = keras.layers, keras.applications
    keras.utils.clear_session()

    def network(name: str = "MobileNetV2", side: int = size, **settings: Any) -> Any:
        shape = (side, side, 3)
        return getattr(applications, name)(weights=None, include_top=False, input_shape=shape, **settings)

    if case == "plain":  # the network is a layer, as in Keras's own guide to transfer learning
        base = network(alpha=width)
        base.trainable = False
        image = keras.Input((size, size, 3))
        x = layers.GlobalAveragePooling2D()(base(image, training=False))
        return keras.Model(image, layers.Dense(classes, activation="softmax")(layers.Dropout(0.3)(x)))
    if case == "prepared":  # and prepares its pictures itself
        image = keras.Input((size, size, 3))
        x = keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.2)])(image)
        x = network(alpha=width)(applications.mobilenet_v2.preprocess_input(x), training=False)
        x = layers.Dropout(0.5)(layers.Flatten()(layers.GlobalAveragePooling2D()(x)))
        return keras.Model(image, layers.Dense(classes, use_bias=False, name="breeds")(layers.Dropout(0.2)(x)))
    if case == "sequential":
        scaling = layers.Rescaling(1 / 127.5, offset=-1, input_shape=(size, size, 3))
        head = [layers.Dense(classes, name="predictions"), layers.Softmax()]
        return keras.Sequential([scaling, network(alpha=width, pooling="avg"), *head])
    if case == "flat":  # the network's layers among the model's own
        base = network(alpha=width)
        x = layers.GlobalAveragePooling2D()(base.output)
        return keras.Model(base.input, layers.Activation("softmax")(layers.Dense(classes)(x)))
    base = network("MobileNet", 64, alpha=0.25)
    image = keras.Input((64, 64, 3))
    x = layers.GlobalAveragePooling2D(keepdims=True)(base(image))
    x = layers.Reshape((classes,))(layers.Dense(classes)(layers.Dropout(0.25)(x)))
    return keras.Model(image, x)


def variables(model: Any) -> dict[str, Any]:
    """The weights of a model and of the models in it, by layer and variable."""
    found: dict[str, Any] = {}
    for layer in model.layers:
        inner = hasattr(layer, "layers")
        found |= variables(layer) if inner else {f"{layer.name}/{v.name}": v for v in layer.weights}
    return {name: v for name, v in found.items() if "seed" not in name}


def fill(model: Any) -> dict[str, Array]:
    """Give a model the weights of `frameworks.state`."""
    state = frameworks.state({name: tuple(v.shape) for name, v in variables(model).items()})
    for name, variable in variables(model).items():
        variable.assign(state[name])
    return state


def written(model: Any, state: dict[str, Array]) -> dict[str, Any]:
    """What Keras writes: descriptions, and where in a file it puts which array."""
    config, layout = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for ending in keras_heads.ENDINGS:
            path = Path(folder) / f"model{ending}"
            model.save_weights(path) if ending == ".weights.h5" else model.save(path)
            if ending == ".keras":
                config[ending] = zipfile.ZipFile(path).read("config.json").decode()
                continue
            with h5py.File(path) as file:
                layout[ending] = _layout(file, state)
                if ending == ".h5":
                    config[ending] = file.attrs["model_config"]
    return {"config": config, "layout": layout}


def _layout(file: Any, state: dict[str, Array]) -> list[Any]:
    """Path, name by layer and variable, shape, and the attribute "name" beside it; an array is known by its numbers."""
    known = {value.tobytes(): name for name, value in state.items()}
    found: list[Any] = []

    def visit(path: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f":
            found.append([path, known[item[()].tobytes()], item.shape, item.parent.attrs.get("name")])

    file.visititems(visit)
    return found


def main() -> None:
    import keras
    import torch

    answers = {"versions": np.array(json.dumps({m.__name__: m.__version__ for m in (keras, torch)}))}
    with zipfile.ZipFile(keras_heads.PATH, "w", zipfile.ZIP_DEFLATED) as archive:
        for case in keras_heads.CASES:
            with keras_in("float64"):
                model = build(keras, case)
                state = fill(model)
                answers[case] = keras.ops.convert_to_numpy(model(keras_heads.images(case), training=False))
                archive.writestr(f"{case}.json", json.dumps(written(model, state)))
            print(case, answers[case].round(3).tolist())
        buffer = io.BytesIO()
        np.savez(buffer, **answers)
        archive.writestr("expected.npz", buffer.getvalue())
    print(keras_heads.PATH.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
