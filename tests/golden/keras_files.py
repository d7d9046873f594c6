"""The files in keras_files.zip, which Keras wrote: `make_keras_files.py` says which."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

PATH = Path(__file__).parent / "keras_files.zip"


def names() -> list[str]:
    """The files of Keras."""
    with zipfile.ZipFile(PATH) as archive:
        return [name for name in archive.namelist() if name != "expected.npz"]


def content(name: str) -> bytes:
    """The bytes of one of them."""
    with zipfile.ZipFile(PATH) as archive:
        return archive.read(name)


def expected() -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """What Keras says are the weights in them, in the order of the model; nested ones have two arrays more."""
    return dict(np.load(io.BytesIO(content("expected.npz"))))
