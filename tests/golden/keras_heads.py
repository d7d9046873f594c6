"""Keras models with a classifier of one's own around a MobileNet: files as Keras lays them out, and Keras's answers.

`make_keras_heads.py` builds them in Keras and stores what it writes but for the numbers: the description of the model,
the names and shapes of the arrays. The numbers follow from the names (`frameworks.state`), so here the files are put
together again without Keras.
"""

import functools
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from golden import frameworks
from golden.recipe import Array, draw

PATH = Path(__file__).parent / "keras_heads.zip"
CASES = ("plain", "prepared", "sequential", "flat", "v1")
ENDINGS = (".h5", ".keras", ".weights.h5")


@functools.cache
def stored(case: str) -> dict[str, Any]:
    """What Keras wrote: `config` by ending, `layout` by ending, as `content` reads it."""
    with zipfile.ZipFile(PATH) as archive:
        found: dict[str, Any] = json.loads(archive.read(f"{case}.json"))
        return found


def expected(case: str) -> Array:
    """Keras's output for `images`, in float64."""
    with zipfile.ZipFile(PATH) as archive:
        return np.array(np.load(io.BytesIO(archive.read("expected.npz")))[case])


def images(case: str) -> Array:
    """What is given to Keras's model: pixels, where it prepares them itself."""
    size = 64 if case == "v1" else 96
    pixels = case in ("prepared", "sequential")
    return draw(f"pixels of {size}", (2, size, size, 3), 0, 255) if pixels else frameworks.images(size, 2)


def config(case: str, ending: str = ".h5") -> dict[str, Any]:
    """The description of the model, a copy that may be changed."""
    found: dict[str, Any] = json.loads(stored(case)["config"][ending])
    return found


def arrays(case: str) -> dict[str, Array]:
    """The weights by layer and variable."""
    return frameworks.state({key: tuple(shape) for _, key, shape, _ in stored(case)["layout"][".h5"]})


def content(
    case: str, ending: str, description: dict[str, Any] | None = None, dtype: str = "float32", **changed: Array | None
) -> bytes:
    """The bytes of a file; with another description, and with arrays changed or (None) left out."""
    layout = stored(case)["layout"][".h5" if ending == ".h5" else ".weights.h5"]
    values: dict[str, Array | None] = {**arrays(case), **{k.replace("__", "/"): v for k, v in changed.items()}}
    text = json.dumps(config(case, ending) if description is None else description) if ending != ".weights.h5" else ""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        if ending == ".h5":
            file.attrs["model_config"] = text
            file.create_group("optimizer_weights/adam")["iteration"] = np.array(3)
        for path, key, _, name in layout:
            value = values[key]
            if value is not None:
                file[path] = value.astype(dtype)
                if name is not None:
                    file[path].parent.attrs["name"] = name
    if ending != ".keras":
        return buffer.getvalue()
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", text)
        archive.writestr("model.weights.h5", buffer.getvalue())
    return outer.getvalue()
