"""Which container a file is: found by its first bytes, whatever it is called. What is taken for weights is named."""

import os
import re
import zipfile

from npmnv2.files import DIRECTORY_BYTES, FormatError, FrugalFile, check_no_pipe, format_errors, listed, shown
from npmnv2.weights.formats.native import HEADER

# In a folder, the best first.
ENDINGS = (".safetensors", ".npz", ".pth", ".pt", ".bin", ".keras", ".weights.h5", ".h5", ".onnx")
PAGE = "is a web page, not a file of weights: download the file itself, not the page that shows it"
PICTURES = (
    "holds pictures and their labels ({}), as Keras's mnist.npz does, and no weights. To train on them give train "
    "--data mnist:{} if they are grey, and x_train, y_train, x_test, y_test; else take the arrays in Python with "
    "np.load into an npmnv2.data.Dataset"
)
LOOKALIKES = {  # beginnings, in small letters
    b"version https://git-lfs": "is a pointer of Git LFS, not the file it stands for: fetch that with `git lfs pull`",
    b"<!doctype html": PAGE,
    b"<html": PAGE,
    b"<?xml": "is XML, such as the answer of a server that has no such file: download the file again",
    b"{": "is JSON, such as a configuration or the answer of a server: name the file of weights itself",
    b"\x1f\x8b": "is compressed with gzip: unpack it first",
    b"\x93numpy": "is one array of NumPy (.npy): save a network's arrays by name, np.savez('model.npz', **arrays)",
}
SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.")  # in the names of a network's shards
INDEX = re.compile(r"[^.].*\.index(\.[^.]+)?\.json")  # with a variant's name in it: model.safetensors.index.fp16.json
INDEX_BYTES = 1 << 20  # of the index of shards
# Behind the version of its format: any text, the graph or its operators' version.
ONNX = b"\x12\x1a\x22\x2a\x32\x3a\x42"
MOST_FILES, DEEPEST = 1000, 3  # looked at in a folder, and how far below it
# What the trainer of Hugging Face's library puts beside the weights, with their endings.
NO_WEIGHTS = (
    *("training_args.bin", "optimizer.pt", "optimizer.bin", "scheduler.pt", "scheduler.bin", "scaler.pt"),
    "rng_state.pth",
)


def file_in(path: str) -> str:
    """The file itself; of a folder the one file of weights in it, or below it, where Hugging Face's cache has it.

    A folder with none or several, which are listed, is an error.
    """
    if not os.path.isdir(path):
        return path
    folders, files = [""], list[str]()
    for folder in folders:  # the nearest first; no link to a folder is followed
        try:
            inside = sorted(os.scandir(os.path.join(path, folder)), key=lambda entry: entry.name)
        except PermissionError as error:
            raise FormatError(f"{path}: is a folder with one that may not be read, {shown(folder)}") from error
        names = [os.path.join(folder, entry.name) for entry in inside]
        if any(entry.name == "saved_model.pb" for entry in inside):
            raise FormatError(
                f"{os.path.join(path, folder) if folder else path}: is a SavedModel of TensorFlow, which is not read: "
                "load it there, and save model.save_weights('model.weights.h5')"
            )
        files += [name for name, entry in zip(names, inside, strict=True) if entry.is_file()]
        below = [name for name, entry in zip(names, inside, strict=True) if entry.is_dir(follow_symlinks=False)]
        folders += [name for name in below if name.count(os.sep) < DEEPEST]
        if len(files) + len(folders) > MOST_FILES:
            raise FormatError(f"{path}: is a folder of more than {MOST_FILES} files: name the one with the weights")
    files = [name for name in files if os.path.basename(name) not in NO_WEIGHTS]
    for ending in ENDINGS:
        found = [name for name in files if name.lower().endswith(ending)]
        indexed = {os.path.dirname(name) for name in files if INDEX.fullmatch(os.path.basename(name))}
        first = {  # of the shards beside an index the first alone
            SHARD.sub(r"-of-\2.", name) if os.path.dirname(name) in indexed else name: name for name in reversed(found)
        }
        found = [name for name in found if name in first.values()]
        if len(found) == 1:
            return os.path.join(path, found[0])
        if found:
            several, index = listed(map(shown, found)), ", or if they are shards, put their index beside them"
            raise FormatError(
                f"{path}: is a folder of {len(found)} such files: {several}; name one of them"
                + index * any(map(SHARD.search, found))
            )
    if any(name.endswith(".distcp") for name in files):
        raise FormatError(
            f"{path}: is a checkpoint of torch.distributed in parts: put it together with `python -m "
            "torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER model.pth`"
        )
    holds = f"; it holds {listed(map(shown, files))}" if files else ""
    raise FormatError(f"{path}: is a folder without a file of weights ({', '.join(ENDINGS)}){holds}")


def container(path: str) -> str:
    """What a file is: "npz", "plain npz", "pth", "safetensors", "shards" (their index), "keras" or "onnx"."""
    check_no_pipe(path)
    with open(path, "rb") as file:
        start = file.read(64)
        begins = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        is_json = begins == b"{" and b"\0" not in start  # a zero is in the length before the JSON of a .safetensors
        if is_json and b'"weight_map"' in start + file.read(INDEX_BYTES):
            return "shards"
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return "keras"
    if start.startswith(b"PK"):
        return _zip(path)
    if start[8:9] == b"{":  # eight bytes of length, then JSON
        return "safetensors"
    if start.startswith(b"\x80"):  # a pickle: torch.save before version 1.6
        return "pth"
    if len(start) > 2 and start[0] == 8 and 0 < start[1] < 32 and start[2] in ONNX:
        return "onnx"
    if not start:
        raise FormatError(f"{path}: is empty: download or save it again")
    if start[4:8] == b"TFL3":
        raise FormatError(f"{path}: is a network of TensorFlow Lite, which is not read: take the one it was made from")
    for beginning, what in LOOKALIKES.items():
        if start.lstrip(b"\r\n \t").lower().startswith(beginning):
            raise FormatError(f"{path}: {what}")
    raise FormatError(
        f"{path}: no known format; known are native .npz, .pth, .safetensors, .onnx and Keras's .h5 and .keras"
    )


def _zip(path: str) -> str:
    """Three formats are zip archives. They are told apart by what lies in them."""
    with FrugalFile(path, DIRECTORY_BYTES) as file, format_errors(path), zipfile.ZipFile(file) as archive:
        members = archive.namelist()
    if any(name.endswith("/data.pkl") or name == "data.pkl" for name in members):
        return "pth"
    if any(name.endswith((".weights.h5", ".h5")) for name in members):
        return "keras"
    if {"x_train.npy", "y_train.npy"} <= set(members):
        arrays = listed(shown(name.removesuffix(".npy")) for name in sorted(members))
        raise FormatError(f"{path}: {PICTURES.format(arrays, path)}")
    if any(name.endswith(".npy") for name in members):
        return "npz" if f"{HEADER}.npy" in members else "plain npz"
    if any("/data/weights/" in name for name in members):
        raise FormatError(f"{path}: is a program of torch.export, which is not read: save the model's state_dict()")
    inside = [name for name in members if name.lower().endswith(ENDINGS)]
    if inside:
        raise FormatError(f"{path}: is an archive with {shown(inside[0])} in it: unpack it first")
    raise FormatError(f"{path}: a zip archive of no known format; known are native .npz, .pth and .keras")
