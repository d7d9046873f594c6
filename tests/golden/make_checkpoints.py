"""Make the .pth files, with PyTorch. From the folder tests/ run

    python -m golden.make_checkpoints

They hold the tensors of `checkpoints.py`, in PyTorch's zip format and in the one from before its release 1.6, stored as
PyTorch stores them: transposed tensors as they lie, views of one storage with that storage, once.
"""

import argparse
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from golden import checkpoints


def state_dict() -> OrderedDict[str, torch.Tensor]:
    """The tensors as PyTorch would have them: a Parameter, a transposed one, views."""
    made = OrderedDict((name, torch.from_numpy(np.array(value))) for name, value in checkpoints.tensors().items())
    made["conv.weight"] = torch.nn.Parameter(made["conv.weight"])
    made["transposed.weight"] = made["transposed.weight"].t().contiguous().t()
    made["bfloat16"] = made["bfloat16"].to(torch.bfloat16)
    made["shared.columns"] = made["shared.all"][:, 1:3]
    made["shared.last_row"] = made["shared.all"][2]
    made["expanded"] = made["shared.all"][0, 0].expand(2, 3)
    made._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    return made


def training() -> dict[str, object]:
    """What a training script saves, in the manner of torchvision's."""
    model = torch.nn.DataParallel(torch.nn.Conv2d(2, 3, (3, 1)))
    state = state_dict()
    model.load_state_dict({f"module.{name}": state[f"conv.{name}"] for name in ("weight", "bias")})
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [30, 60])
    return {
        "epoch": 3,
        "best": np.float64(0.75),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": scheduler.state_dict(),
        "random": np.random.RandomState(0).get_state(),
        "args": argparse.Namespace(lr=0.1, data=Path("images"), shape=torch.Size([2, 3])),
    }


def write(folder: Path) -> None:
    torch.save(state_dict(), folder / "zip.pth")
    torch.save(state_dict(), folder / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(training(), folder / "training.pth")


if __name__ == "__main__":
    write(checkpoints.FOLDER)
