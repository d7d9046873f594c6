"""One network in several files, as Hugging Face's library writes it: an index and its shards.

    model.safetensors.index.json        {"weight_map": {"classifier.bias": "model-00002-of-00002.safetensors", ...}}
    model-00001-of-00002.safetensors    a file of weights like any other
    model-00002-of-00002.safetensors

An index holds what its shards hold together. They may be .safetensors or .pth, each within the limits of its own
reader. The index may not lie: every shard is in its folder, and has the tensors that the index says, and no others.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

from npmnv2.files import FormatError, format_errors, listed, shown
from npmnv2.validate import Array
from npmnv2.weights.formats.containers import INDEX, INDEX_BYTES, SHARD, container
from npmnv2.weights.formats.raw import no_name_twice


def index_of(path: str) -> str:
    """The index that a shard belongs to; of any other file, and where no index names it, the file itself.

    Raises
    ------
    FormatError
        If several indices name it.
    """
    found, _ = _indices(path)
    if len(found) > 1:
        several = listed(shown(os.path.basename(file)) for file in found)
        raise FormatError(f"{path}: is named by several indices: {several}; give one of them")
    return found[0] if found else path


def _indices(path: str) -> tuple[list[str], list[FormatError]]:
    """What names a file as a shard, beside it; and why others could not be read."""
    (folder, name), found, errors = os.path.split(path), list[str](), list[FormatError]()
    if SHARD.search(name) is None or not os.path.isfile(path):
        return found, errors
    for beside in filter(INDEX.fullmatch, sorted(os.listdir(folder or "."))):
        index = os.path.join(folder, beside)
        try:
            found += [index] * (os.path.isfile(index) and name in weight_map(index).values())
        except FormatError as error:
            errors.append(error)
    return found, errors


@contextlib.contextmanager
def advice(path: str) -> Iterator[None]:
    """What is no whole network may be a shard, if it is called so: the error says what its index lacks."""
    try:
        yield
    except FormatError as error:
        number = SHARD.search(os.path.basename(path))
        if number is None or int(number[2]) == 1:
            raise
        _, errors = _indices(path)
        download = "download the others and their index too, such as model.safetensors.index.json"
        why = errors[0] if errors else download
        raise FormatError(f"{error}; if it is one of {int(number[2])} shards: {why}") from None


def weight_map(path: str) -> dict[str, str]:
    """What an index says: in which shard each tensor is."""
    container(path)  # which names what is no index at all
    with open(path, "rb") as file, format_errors(path):
        text = file.read(INDEX_BYTES + 1)
        if len(text) > INDEX_BYTES:
            raise FormatError(f"has more than {INDEX_BYTES} bytes, which is room for ten thousand tensors")
        said: Any = json.loads(text.decode("utf-8-sig"), object_pairs_hook=no_name_twice)
        tensors = said.get("weight_map") if isinstance(said, dict) else None
        if not isinstance(tensors, dict) or not tensors:
            raise FormatError("is no index of shards: its weight_map must give each tensor the name of a file")
        for tensor, shard in tensors.items():
            if not isinstance(shard, str) or shard in ("", ".", "..") or os.path.basename(shard) != shard:
                raise FormatError(
                    f"has {shown(tensor)} in {shown(str(shard))}, which is no name of a file in its folder"
                )
        return tensors


def read(path: str) -> tuple[str, dict[str, Array], list[str]]:
    """Read all shards that an index names.

    Returns
    -------
    container : str
        Of the shards, "safetensors" or "pth".
    arrays : dict of name -> ndarray
        Shard by shard.
    shards : list of str
        Their names.

    Raises
    ------
    FormatError
        If a shard is missing or damaged, or has not the tensors that the index says.
    """
    from npmnv2.weights.formats import safetensors_file, torch_file

    tensors, kinds = weight_map(path), dict[str, str]()
    by_shard: dict[str, set[str]] = {}
    for tensor, shard in tensors.items():
        by_shard.setdefault(shard, set()).add(tensor)
    for shard, named in by_shard.items():
        file = os.path.join(os.path.dirname(path), shard)
        if not os.path.isfile(file):
            raise FormatError(f"{path}: has {shown(min(named))} in {shown(shard)}, and no such file is beside it")
        kinds[shard] = container(file)
        if kinds[shard] not in ("safetensors", "pth") or len(set(kinds.values())) > 1:
            raise FormatError(f"{path}: must name .safetensors alone or .pth alone; {shown(shard)} is {kinds[shard]}")
    arrays: dict[str, Array] = {}
    for shard in sorted(by_shard):
        file = os.path.join(os.path.dirname(path), shard)
        found = safetensors_file.read(file)[0] if kinds[shard] == "safetensors" else torch_file.read(file)
        if differ := found.keys() ^ by_shard[shard]:
            tensor = min(differ)
            says = f"has {shown(tensor)} in {shown(tensors[tensor])}" if tensor in tensors else f"lacks {shown(tensor)}"
            raise FormatError(f"{path}: {says}; {shown(shard)} {'has' if tensor in found else 'lacks'} it")
        arrays |= found
    return kinds[shard], arrays, sorted(by_shard)
