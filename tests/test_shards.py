"""Networks in several files, with an index that says which tensor is in which: found from any of them, and no lie."""

import json
import os
import tracemalloc

import numpy as np
import pytest

import npmnv2
from npmnv2 import weights
from npmnv2.weights import FormatError
from npmnv2.weights.formats import safetensors_file, shards, torch_file
from npmnv2.weights.names import translate

NET = npmnv2.mobilenet_v2(5, 0.35, padding="same", eps=1e-3)
ARRAYS = translate(NET.state_dict(), "mobilenet_v2", "hf")
KINDS = {  # how Hugging Face's library calls them
    "model.safetensors": (safetensors_file.write, "safetensors"),
    "pytorch_model.bin": (torch_file.write, "pth"),
}


def sharded(folder, arrays=ARRAYS, called="model.safetensors", count=3, variant=""):
    """The index of a network that was cut into files of as many arrays each."""
    folder.mkdir(exist_ok=True)
    names, (start, ending), where = list(arrays), called.split("."), {}
    for k in range(count):
        part = names[len(names) * k // count : len(names) * (k + 1) // count]
        shard = f"{start}{variant}-{k + 1:05}-of-{count:05}.{ending}"
        KINDS[called][0](folder / shard, {name: arrays[name] for name in part})
        where |= dict.fromkeys(part, shard)
    return written(folder / f"{called}.index{variant}.json", where)


def written(index, where):
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}, indent=2, sort_keys=True))
    return index


@pytest.mark.parametrize("variant", ["", ".fp16"])
@pytest.mark.parametrize("count", [1, 2, 12])
@pytest.mark.parametrize("called", KINDS)
def test_the_folder_the_index_and_every_shard(called, count, variant, tmp_path):
    index = sharded(tmp_path, called=called, count=count, variant=variant)
    wanted, start = NET.state_dict(), called.split(".")[0]
    for path in (tmp_path, *tmp_path.iterdir()):
        source = weights.read(path)
        assert (source.path, source.container, source.names) == (str(index), KINDS[called][1], "hf")
        assert all(np.array_equal(source.state[name], wanted[name]) for name in wanted), path
        lines = [line for line in weights.load.notes(source) if "found: all its shards were read" in line]
        assert bool(lines) == (path not in (tmp_path, index)), "who gives a shard is told that all were read"
        assert f"all its shards were read: {start}{variant}-00001-of" in "".join(weights.explain(source))
    model = weights.load_model(index)
    x = np.ones((1, 32, 32, 3), np.float32)
    assert np.array_equal(model(x), NET.eval()(x))


def test_an_index_that_an_editor_of_windows_saved(tmp_path):
    index = sharded(tmp_path)
    index.write_bytes(b"\xef\xbb\xbf" + index.read_bytes().replace(b"\n", b"\r\n"))
    for path in (tmp_path, index, tmp_path / "model-00001-of-00003.safetensors"):
        assert weights.read(path).path == str(index)


def test_a_folder_in_a_cache_with_both_kinds(tmp_path, monkeypatch):
    """Links into a folder of blobs, as Hugging Face's cache has them; a configuration beside them is read."""
    for called in KINDS:
        sharded(tmp_path / "blobs", called=called)
    snapshot = tmp_path / "snapshots" / "0a1b"
    snapshot.mkdir(parents=True)
    for file in (tmp_path / "blobs").iterdir():
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    (snapshot / "preprocessor_config.json").write_text('{"size": {"shortest_edge": 99}}')
    for path in (tmp_path / "snapshots", snapshot, snapshot / "model-00002-of-00003.safetensors"):
        model = weights.read(path)
        assert model.path == str(snapshot / "model.safetensors.index.json")
    assert weights.load_model(snapshot).preprocessing.resize == 99
    monkeypatch.chdir(snapshot)
    assert weights.read("pytorch_model-00003-of-00003.bin").container == "pth"
    safetensors_file.write(snapshot / "model.safetensors", ARRAYS)
    with pytest.raises(FormatError, match="is a folder of 2 such files"):
        weights.read(snapshot)


def shard(folder, k=1):
    return folder / f"model-{k:05}-of-00003.safetensors"


def no_index(folder, where):
    (folder / "model.safetensors.index.json").unlink()
    return folder


def a_shard_alone(folder, where):
    return shard(no_index(folder, where))


def a_neighbour(folder, where):
    """Which is no index, by its name."""
    (folder / "._model.safetensors.index.json").write_text("of macOS")
    (folder / "model.safetensors.index.json.bak").write_text("an older one")
    return no_index(folder, where)


def a_pointer(folder, where):
    (folder / "model.safetensors.index.json").write_text("version https://git-lfs.github.com/spec/v1")
    return folder


def two_indices(folder, where):
    written(folder / "other.safetensors.index.json", where)
    return shard(folder)


def missing(folder, where):
    shard(folder, 2).unlink()


def a_folder(folder, where):
    missing(folder, where)
    shard(folder, 2).mkdir()


def empty(folder, where):
    shard(folder, 2).write_bytes(b"")


def damaged(folder, where):
    shard(folder, 2).write_bytes(shard(folder, 2).read_bytes()[:-1])


def of_another_kind(folder, where):
    np.savez(shard(folder, 2).open("wb"), w=np.ones(2))


def of_two_kinds(folder, where):
    torch_file.write(shard(folder, 2), {name: ARRAYS[name] for name in ARRAYS if where[name] == shard(folder, 2).name})


def the_index(folder, where):
    written(folder / "model.safetensors.index.json", {**where, "w": "model.safetensors.index.json"})


def in_no_shard(folder, where):
    written(folder / "model.safetensors.index.json", {**where, "w": shard(folder, 3).name})


def in_two(folder, where):
    name = next(name for name in where if where[name] == shard(folder, 1).name)
    found = safetensors_file.read(shard(folder, 3))[0]
    safetensors_file.write(shard(folder, 3), {**found, name: ARRAYS[name]})


def not_named(folder, where):
    del where["classifier.bias"]
    written(folder / "model.safetensors.index.json", where)


def linked_twice(folder, where):
    missing(folder, where)
    shard(folder, 2).symlink_to(shard(folder, 1))


WRONG = {
    a_pointer: "model.safetensors.index.json: is a pointer of Git LFS",
    no_index: "is a folder of 3 such files: .*; name one of them, or if they are shards, put their index beside them",
    a_shard_alone: "if it is one of 3 shards: download the others and their index too, such as model",
    a_neighbour: "is a folder of 3 such files: .*; name one of them, or if",
    two_indices: "is named by several indices: model.safetensors.index.json, other.safetensors.index.json; give one",
    missing: "in model-00002-of-00003.safetensors, and no such file is beside it",
    a_folder: "in model-00002-of-00003.safetensors, and no such file is beside it",
    empty: "model-00002-of-00003.safetensors: is empty",
    damaged: "model-00002-of-00003.safetensors: is damaged",
    of_another_kind: "must name .safetensors alone or .pth alone; model-00002-of-00003.safetensors is plain npz",
    of_two_kinds: "must name .safetensors alone or .pth alone; model-00002-of-00003.safetensors is pth",
    the_index: "must name .safetensors alone or .pth alone; model.safetensors.index.json is shards",
    in_no_shard: "has w in model-00003-of-00003.safetensors; model-00003-of-00003.safetensors lacks it",
    in_two: "in model-00001-of-00003.safetensors; model-00003-of-00003.safetensors has it",
    not_named: "lacks classifier.bias; model-0000.-of-00003.safetensors has it",
    linked_twice: r"in model-0000.-of-00003.safetensors; model-00002-of-00003.safetensors (has|lacks) it",
}


def test_a_name_like_that_of_a_shard_is_no_matter(tmp_path):
    """A whole network that is called so, with the index of another beside it, or a file called like an index."""
    for name in ("epoch-00010-of-00100", "model-00001-of-00001"):
        safetensors_file.write(tmp_path / f"{name}.safetensors", ARRAYS)
    (tmp_path / "search.index.json").write_text("{}")
    for path in sorted(tmp_path.glob("*.safetensors")):
        assert weights.read(path).path == str(path)
    (tmp_path / "search.index.json").unlink()
    with pytest.raises(FormatError, match="is a folder of 2 such files"):
        weights.read(tmp_path)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_shards_that_are_not_as_the_index_says(wrong, tmp_path):
    index = sharded(tmp_path)
    path = wrong(tmp_path, json.loads(index.read_text())["weight_map"]) or index
    with pytest.raises(FormatError, match=WRONG[wrong]) as error:
        weights.read(path)
    assert "\n" not in str(error.value)


HOSTILE = {
    "../secret.safetensors": "is no name of a file in its folder",
    "sub/secret.safetensors": "is no name of a file in its folder",
    "/etc/passwd": "in /etc/passwd, which is no name of a file in its folder",
    "..": "is no name of a file in its folder",
    "": "is no name of a file in its folder",
    "a\0b": r"in a\\x00b, and no such file is beside it",
    "a\nb": r"in a\\nb, and no such file is beside it",
    "x" * 5000: r"in x+\.\.\., and no such file is beside it",
    "\ud800": r"in \\ud800, and no such file is beside it",
}


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_names_that_leave_the_folder(name, tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "in" / "sub"):
        safetensors_file.write(folder / "secret.safetensors", ARRAYS)
    index = written(tmp_path / "in" / "model.safetensors.index.json", {"w": name})
    with pytest.raises(FormatError, match=HOSTILE[name]) as error:
        weights.read(index)
    assert len(str(error.value)) < 400 and "\n" not in str(error.value)


TEXTS = {
    '{"weight_map"': "is damaged",
    '{"weight_map": {"w": "a", "w": "b"}}': "has two entries called w",
    '{"weight_map": {}}': "is no index of shards",
    '{"weight_map": ["a"]}': "is no index of shards",
    '{"weight_map": {"w": ["a"]}}': r"has w in \['a'\], which is no name of a file",
    '{"a": "weight_map", "weight_map": 3}': "is no index of shards",
    '{"weight_map": ' + "[" * 100_000: "is damaged",
    '{"weight_map": {"w": "a"}}' + " " * 2**20: "has more than 1048576 bytes",
    '{"weight": 3}': "is JSON, such as a configuration",
    '{"weight_map": {' + ", ".join(f'"{k}": ""' for k in range(60_000)) + ', "59999": ""}}': "two entries called 59999",
}


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:40])
def test_hostile_indices(text, tmp_path):
    (tmp_path / "a.index.json").write_text(text)
    tracemalloc.start()
    with pytest.raises(FormatError, match=TEXTS[text]):
        weights.read(tmp_path / "a.index.json")
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()


def test_a_pipe_called_like_an_index_or_a_shard(tmp_path):
    index = sharded(tmp_path, count=2)
    os.mkfifo(tmp_path / "pipe.index.json")
    assert weights.read(tmp_path / "model-00001-of-00002.safetensors").path == str(index)
    (tmp_path / "model-00001-of-00002.safetensors").unlink()
    os.mkfifo(tmp_path / "model-00001-of-00002.safetensors")
    with pytest.raises(FormatError, match="no such file is beside it"):
        shards.read(str(index))
