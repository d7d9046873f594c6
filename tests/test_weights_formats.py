"""Files as NumPy and PyTorch write them of weights: the same arrays, bit for bit, in each layout and byte order.

The small files here are made without a framework; PyTorch's own are in `test_weights_formats_oracle.py`.
"""

import time

import numpy as np
import pytest
from golden import frameworks
from test_weights import same, theirs, write

from npmnv2 import weights
from npmnv2.weights import FormatError
from npmnv2.weights.formats import native
from npmnv2.weights.names import schemes

RNG = np.random.default_rng(0)


def identical(found, wanted):
    """Names in order, dtypes but for the byte order, shapes, and every bit of the numbers."""
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        plain = np.ascontiguousarray(value, value.dtype.newbyteorder("=")).reshape(value.shape)
        assert (found[name].dtype, found[name].shape) == (plain.dtype, plain.shape), name
        assert found[name].tobytes() == plain.tobytes() and not (value.size and found[name].flags.writeable), name


ARRAYS = {
    "rows first": RNG.normal(size=(2, 3, 4)).astype(np.float32),
    "columns first": np.asfortranarray(RNG.normal(size=(2, 3, 4)).astype(np.float32)),
    "transposed": RNG.normal(size=(2, 3, 4)).astype(np.float32).transpose(1, 0, 2),
    "with steps": RNG.normal(size=(4, 6)).astype(np.float32)[::2, ::3],
    "big-endian": RNG.normal(size=(3, 2)).astype(">f4"),
    "big-endian, columns first": np.asfortranarray(RNG.normal(size=(3, 2)).astype(">f8")),
    "half": RNG.normal(size=5).astype(np.float16),
    "double": RNG.normal(size=5),
    "integers": np.arange(6, dtype=np.int64).reshape(3, 2),
    "bytes": np.arange(250, 256, dtype=np.uint8),
    "booleans": np.array([True, False]),
    "a number": np.array(7, np.int64),
    "nothing": np.zeros((0, 3), np.float32),
}


@pytest.fixture(scope="module")
def plain():
    return theirs(frameworks.GOLDENS[0], np.float32)


@pytest.fixture(scope="module")
def wanted(plain, tmp_path_factory):
    return weights.read(write(str(tmp_path_factory.mktemp("plain") / "model.pth"), plain)).state


# -- .npz


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_of_every_layout(save, tmp_path):
    save(tmp_path / "a.npz", **ARRAYS)
    identical(native.read_plain(tmp_path / "a.npz"), ARRAYS)


@pytest.mark.parametrize(("architecture", "names"), [s for s in schemes() if s[1] != "npmnv2"])
def test_compressed_npz_of_every_librarys_names(architecture, names, tmp_path):
    from test_weights import network

    from npmnv2.weights.names import translate

    state = network(architecture, 0.35, names).state_dict()
    arrays = translate(state, architecture, names)
    np.savez_compressed(tmp_path / "a.npz", **{name: np.asfortranarray(value) for name, value in arrays.items()})
    source = weights.read(tmp_path / "a.npz")
    assert (source.container, source.names) == ("plain npz", names) and same(source.state, state)


def test_a_pruned_network_packs_well_and_loads(tmp_path):
    value = RNG.normal(size=10**6).astype(np.float32) * (RNG.random(10**6) < 0.05)
    np.savez_compressed(tmp_path / "a.npz", w=value)
    assert (tmp_path / "a.npz").stat().st_size < value.nbytes / 7
    identical(native.read_plain(tmp_path / "a.npz"), {"w": value})


def test_what_packs_too_well_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", w=np.zeros(10**7))
    with pytest.raises(FormatError, match=r"would unpack to 80000\d+ bytes; from a file of"):
        native.read_plain(tmp_path / "a.npz")


def test_unpacking_takes_time_by_the_byte(tmp_path):
    """`zipfile` copies all that it has so far at every 4 kB."""
    value = RNG.normal(size=4_000_000).astype(np.float32)
    np.savez_compressed(tmp_path / "a.npz", w=value)
    start = time.perf_counter()
    identical(native.read_plain(tmp_path / "a.npz"), {"w": value})
    assert time.perf_counter() - start < 5


def test_objects_in_an_npz(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", w=np.array([None, 1]))
    with pytest.raises(FormatError, match="the array w has a header that is never written"):
        native.read_plain(tmp_path / "a.npz")
