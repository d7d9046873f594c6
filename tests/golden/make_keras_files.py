"""Make keras_files.zip, with Keras on PyTorch. From the folder tests/ run

    KERAS_BACKEND=torch python -m golden.make_keras_files

One tiny model, with a layer of each kind that a MobileNet has under a name from there, in every kind of file that Keras
writes, and ``expected.npz`` with what Keras says the weights are. Keras before 3.6 wrote no names of layers into a
`.weights.h5`, so there they are taken out again; Keras 2 wrote other names of variables into an `.h5`, so that file is
put together by hand as its `save_weights_to_hdf5_group` does.
"""

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from golden import keras_files
from keras import layers
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

DEPTHWISE = "expanded_conv_depthwise"


def tiny(dtype: str = "float32") -> Any:
    """The beginning of a MobileNetV2 and its end."""
    image = x = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, strides=2, use_bias=False, name="Conv1", dtype=dtype)(x)
    x = layers.BatchNormalization(epsilon=1e-3, name="bn_Conv1", dtype=dtype)(x)
    x = layers.ReLU(6.0, name="Conv1_relu", dtype=dtype)(x)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=DEPTHWISE, dtype=dtype)(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{DEPTHWISE}_BN", dtype=dtype)(x)
    x = layers.Conv2D(2, 1, use_bias=False, name="expanded_conv_project", dtype=dtype)(x)
    x = layers.Dropout(0.1, seed=0, name="dropout", dtype=dtype)(x)
    x = layers.GlobalAveragePooling2D(name="pool", dtype=dtype)(x)
    model = keras.Model(image, layers.Dense(5, name="predictions", dtype=dtype)(x), name="tiny")
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape).astype(np.float32) for w in model.get_weights()])
    return model


def nested() -> Any:
    """The same as a layer of a model that fine-tunes it."""
    top = layers.Dense(2, name="top", kernel_initializer="ones")
    return keras.Sequential([tiny(), top], name="outer")


def trained() -> Any:
    """With an optimiser, whose state is in the file too."""
    model = tiny()
    model.compile("rmsprop", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def nameless(content: bytes) -> bytes:
    """A `.weights.h5` as Keras wrote it before 3.6."""
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        file.visititems(lambda _, item: item.attrs.clear())
    return buffer.getvalue()


def keras_2(model: Any) -> bytes:
    """An `.h5` of weights alone as Keras 2 wrote it, with lists of fixed-length names."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["layer_names"] = np.array([layer.name.encode() for layer in model.layers])
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.2.4"
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{variable.name}:0" for variable in layer.weights]
            names = [name.replace("kernel", "depthwise_kernel") if layer.name == DEPTHWISE else name for name in names]
            group.attrs["weight_names"] = np.array([name.encode() for name in names])
            for name, value in zip(names, layer.get_weights(), strict=True):
                group[name] = value
    return buffer.getvalue()


def write(path: Path) -> None:
    """All files into one archive, compressed: HDF5 is mostly zeros."""
    contents: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:

        def saved(name: str, save: Any) -> bytes:
            save(Path(folder, name))
            contents[name] = Path(folder, name).read_bytes()
            return contents[name]

        model = tiny()
        saved("tiny.weights.h5", model.save_weights)
        saved("tiny.keras", model.save)
        saved("tiny.h5", model.save)
        saved("nested.weights.h5", nested().save_weights)
        saved("nested.keras", nested().save)
        saved("nested.h5", nested().save)
        saved("trained.keras", trained().save)
        saved("trained.h5", trained().save)
        for dtype in ("float16", "float64", "bfloat16"):
            saved(f"{dtype}.weights.h5", tiny(dtype).save_weights)
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        save_weights_to_hdf5_group(file, model)
    contents["weights.h5"] = weights.getvalue()
    contents["keras_2.h5"] = keras_2(model)
    contents["nameless.weights.h5"] = nameless(contents["tiny.weights.h5"])
    for name in ("tiny", "nested"):
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(contents[f"{name}.keras"])) as old, zipfile.ZipFile(out, "w") as new:
            for member in old.namelist():
                content = old.read(member)
                new.writestr(zipfile.ZipInfo(member), nameless(content) if member.endswith(".h5") else content)
        contents["nameless.keras" if name == "tiny" else "nameless_nested.keras"] = out.getvalue()
    expected = io.BytesIO()
    np.savez(expected, **{f"{layer.name}/{v.name}": v.numpy() for layer in model.layers for v in layer.weights})
    contents["expected.npz"] = expected.getvalue()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED, 9)


if __name__ == "__main__":
    write(keras_files.PATH)
