"""The tensors in the .pth files here: their names, dtypes and values. `make_checkpoints.py` wrote them with PyTorch."""

from pathlib import Path
from typing import Any

import numpy as np
from golden.recipe import draw

Array = np.ndarray[Any, np.dtype[Any]]

FOLDER = Path(__file__).parent
STATE_DICTS = ("zip.pth", "legacy.pth")  # the same tensors in both formats
TRAINING = "training.pth"  # within it, the first two under DataParallel's names, and all else that training saves
SHAPES = {"conv.weight": (3, 2, 3, 1), "conv.bias": (3,), "transposed.weight": (4, 2)}


def tensors() -> dict[str, Array]:
    """Name -> what a reader must find, bfloat16 as float32."""
    found = {name: draw(name, shape).astype(np.float32) for name, shape in SHAPES.items()}
    shared = draw("shared", (3, 4))
    bits = draw("bfloat16", (2, 3)).astype(np.float32).view(np.uint32)
    return (
        found
        | {
            "double": draw("double", (2,)),
            "half": draw("half", (5,)).astype(np.float16),
            "bfloat16": (bits & np.uint32(0xFFFF0000)).view(np.float32),  # numbers that bfloat16 has
            "bn.num_batches_tracked": np.array(12345678901234, np.int64),
            "shared.all": shared,
            "shared.columns": shared[:, 1:3],
            "shared.last_row": shared[2],
            "expanded": np.broadcast_to(shared[0, 0], (2, 3)),
            "empty": np.zeros((0, 3), np.float32),
            "mask": np.array([True, False, True]),
            "bytes": np.array([0, 255], np.uint8),
        }
    )
