"""PyTorch reads what is written here and the other way round, bit for bit, live. Runs with -m oracle; needs PyTorch.

The small files in golden/ say the same in the default run, for the versions that made them.
"""

import zipfile

import numpy as np
import pytest
from golden import checkpoints

from npmnv2.weights import FormatError
from npmnv2.weights.formats import safetensors_file, torch_file

pytestmark = pytest.mark.oracle

DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")


@pytest.fixture(scope="module")
def made(torch):
    from golden import make_checkpoints

    return make_checkpoints


def largest(places):
    """Of a training checkpoint, the dictionary with the most tensors."""
    return max(places, key=lambda place: len(places[place]))


def assert_same(found, wanted):
    """`wanted` holds tensors; bfloat16 is compared as float32."""
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        tensor = tensor.detach().float() if str(tensor.dtype) == "torch.bfloat16" else tensor.detach()
        array = np.array(found[name])
        assert array.shape == tuple(tensor.shape) and array.dtype == tensor.numpy().dtype, name
        assert array.tobytes() == tensor.contiguous().numpy().tobytes(), name


def test_golden_files_can_be_made_again(made, tmp_path):
    made.write(tmp_path)
    for name in (*checkpoints.STATE_DICTS, checkpoints.TRAINING):
        old, new = (torch_file.read_whole(folder / name, largest).arrays for folder in (checkpoints.FOLDER, tmp_path))
        assert list(old) == list(new) and all(np.array_equal(old[key], new[key]) for key in old)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
def test_read(torch, tmp_path, is_zip, protocol):
    """Every dtype, and tensors as they occur: whole, transposed, strided, shifted, expanded, empty, without axes."""
    generator = torch.Generator().manual_seed(protocol)
    state = {}
    for dtype in DTYPES:
        base = (torch.randn(4, 6, 5, generator=generator) * 50).to(getattr(torch, dtype))
        state |= {
            f"{dtype}.whole": base,
            f"{dtype}.transposed": base.permute(2, 0, 1),
            f"{dtype}.steps": base[1::2, ::3],
        }
        state |= {f"{dtype}.row": base[2, 3], f"{dtype}.one": base[3, 2, 1], f"{dtype}.empty": base[:0]}
        state |= {
            f"{dtype}.diagonal": base[0].diagonal(),
            f"{dtype}.channels_last": base[None].contiguous(memory_format=torch.channels_last),
        }
    state |= {"expanded": torch.ones(3, 1).expand(3, 4), "parameter": torch.nn.Parameter(torch.randn(3))}
    path = tmp_path / "model.pth"
    torch.save(state, path, _use_new_zipfile_serialization=is_zip, pickle_protocol=protocol)
    assert_same(torch_file.read(path), state)


@pytest.mark.parametrize("seed", range(20))
def test_read_any_view(torch, tmp_path, seed):
    rng = np.random.default_rng(seed)
    state = {}
    for k in range(30):
        storage = torch.from_numpy(rng.normal(size=200).astype(np.float32))
        shape = rng.integers(0, 4, size=rng.integers(0, 5)).tolist()
        strides = rng.integers(0, 12, size=len(shape)).tolist()
        state[f"t{k}"] = storage.as_strided(shape, strides, int(rng.integers(0, 60)))
    torch.save(state, tmp_path / "model.pth", _use_new_zipfile_serialization=bool(seed % 2))
    assert_same(torch_file.read(tmp_path / "model.pth"), state)


def test_write(torch, tmp_path):
    """`weights_only=True` is PyTorch's own allow-list; `mmap=True` uses the storages as they lie in the file."""
    path, wanted = tmp_path / "model.pth", checkpoints.tensors()
    torch_file.write(path, wanted)
    for mapped in (False, True):
        found = torch.load(path, weights_only=True, mmap=mapped)
        assert type(found).__name__ == "OrderedDict"
        assert_same(wanted, found)
    assert found["bn.num_batches_tracked"].dtype == torch.int64 and found["bn.num_batches_tracked"].shape == ()
    assert all(tensor.data_ptr() % 64 == 0 for tensor in found.values() if tensor.numel())


def test_write_every_dtype(torch, tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "model.pth"
    wanted = {dtype: (rng.normal(size=(3, 5)) * 50).astype(dtype) for dtype in DTYPES if dtype != "bfloat16"}
    torch_file.write(path, wanted)
    assert_same(wanted, torch.load(path, weights_only=True))


def test_write_as_pytorch_does(torch, tmp_path):
    """The members of PyTorch's own archive, of the same content, but for the pickle's memo and for its bookkeeping."""
    state = {name: torch.from_numpy(np.array(array)) for name, array in checkpoints.tensors().items()}
    torch_file.write(tmp_path / "ours.pth", checkpoints.tensors())
    torch.save(state, tmp_path / "theirs.pth")
    ours, theirs = (zipfile.ZipFile(tmp_path / name) for name in ("ours.pth", "theirs.pth"))
    with ours, theirs:
        members = [{m.partition("/")[2] for m in archive.namelist()} for archive in (ours, theirs)]
        assert members[0] <= members[1]
        for name in members[0] - {"data.pkl"}:
            assert ours.read(f"archive/{name}") == theirs.read(f"theirs/{name}"), name


def test_a_trained_network_there_and_back(torch, tmp_path):
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Flatten(), torch.nn.LazyLinear(5)
    )
    model(torch.randn(4, 3, 6, 5))
    torch.save(model.state_dict(), tmp_path / "first.pth")
    torch_file.write(tmp_path / "second.pth", torch_file.read(tmp_path / "first.pth"))
    second = torch.load(tmp_path / "second.pth", weights_only=True)
    for name, tensor in model.state_dict().items():
        assert second[name].dtype == tensor.dtype and torch.equal(second[name], tensor), name
    assert str(model.load_state_dict(second, strict=True)) == "<All keys matched successfully>"


def test_half_precision_network(torch, tmp_path):
    model = torch.nn.Conv2d(3, 8, 3).to(torch.bfloat16)
    torch.save(torch.nn.DataParallel(model).state_dict(), tmp_path / "model.pth")
    found = torch_file.read(tmp_path / "model.pth")
    assert_same(found, torch.nn.DataParallel(model).state_dict())


@pytest.mark.filterwarnings("ignore")  # PyTorch is about to give them up
def test_quantised_tensors_are_refused(torch, tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"w": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}, path)
    with pytest.raises(FormatError, match=r"QInt8Storage|_rebuild_qtensor"):
        torch_file.read(path)


def test_safetensors(torch, tmp_path):
    from safetensors.torch import load_file, save_file

    state = {dtype: (torch.randn(3, 5) * 50).to(getattr(torch, dtype)) for dtype in DTYPES}
    save_file(state, tmp_path / "theirs.safetensors", {"format": "pt"})
    found, metadata = safetensors_file.read(tmp_path / "theirs.safetensors")
    assert metadata == {"format": "pt"}
    assert_same({name: found[name] for name in state}, state)
    wanted = {name: np.asfortranarray(array) for name, array in found.items()}
    safetensors_file.write(tmp_path / "ours.safetensors", wanted)
    loaded = load_file(tmp_path / "ours.safetensors")
    assert_same(wanted, {name: loaded[name] for name in wanted})
