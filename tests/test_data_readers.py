"""Readers of data sets, on files that the tests write: every pixel in its place, every damaged file one clear line."""

import collections
import gzip
import os
import pickle
import struct
import warnings
import zipfile

import numpy as np
import pytest
from PIL import Image
from processes import peak_memory

from npmnv2.data import cifar, folder, load_cifar10, load_cifar100, load_folder, load_mnist, mnist, normalise
from npmnv2.train import datasets


def _refused(load, path, *texts):
    """The one line that it is refused with."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError) as caught:
            load(path)
    line = str(caught.value)
    assert line.startswith(str(path)) and "\n" not in line and len(line) < len(str(path)) + 400, line
    for text in texts:
        assert text in line, line
    return line


# -- CIFAR-10


def _pictures(count, seed=0):
    """Pictures (N, 32, 32, 3) in which no two pixels of a picture, nor the axes of one, can be taken for each other."""
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)


def _rows(x):
    """As CIFAR stores them: all red values of a picture row by row, then the green and the blue ones."""
    return np.stack([np.concatenate([image[..., channel].ravel() for channel in range(3)]) for image in x])


NAMES = [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]


def _cifar(path, dump, ending="", counts=(3, 1, 2, 4, 5, 6)):
    """A small CIFAR-10; the pictures and labels that are in it."""
    path.mkdir(parents=True)
    x = [_pictures(count, seed) for seed, count in enumerate(counts)]
    y = [np.random.default_rng(seed).integers(0, 10, count) for seed, count in enumerate(counts)]
    for name, images, labels in zip(NAMES, x, y, strict=True):
        (path / f"{name}{ending}").write_bytes(dump(_rows(images), labels.tolist()))
    return np.concatenate(x[:5]), np.concatenate(y[:5]), x[5], y[5]


def _binary(rows, labels):
    return b"".join(bytes([label]) + row.tobytes() for row, label in zip(rows, labels, strict=True))


def _pickled(protocol, as_bytes=True):
    def dump(rows, labels):
        values = {"batch_label": b"a batch", "labels": labels, "data": rows, "filenames": [b"a.png"] * len(labels)}
        return pickle.dumps({k.encode() if as_bytes else k: v for k, v in values.items()}, protocol)

    return dump


def _python_2(rows, labels):
    """The operations of the file that the authors offer, which Python 2 wrote: strings are strings of bytes."""

    def short(text):
        return b"U" + bytes([len(text)]) + text

    def integer(value):
        return b"K" + bytes([value])

    state = integer(1) + b"M" + len(rows).to_bytes(2, "little") + b"M" + (3072).to_bytes(2, "little") + b"\x86"
    dtype = b"cnumpy\ndtype\n" + short(b"u1") + integer(0) + integer(1) + b"\x87R(" + integer(3) + short(b"|")
    dtype += b"NNN" + b"J\xff\xff\xff\xff" * 2 + integer(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + integer(0) + b"\x85" + short(b"b") + b"\x87R("
    array += state + dtype + b"\x89T" + struct.pack("<i", rows.size) + rows.tobytes() + b"tb"
    names = b"](" + b"".join(short(b"a_s_000001.png") for _ in labels) + b"e"
    inside = short(b"data") + array + short(b"labels") + b"](" + b"".join(map(integer, labels)) + b"e"
    inside += short(b"batch_label") + short(b"training batch 1 of 5") + short(b"filenames") + names
    return b"\x80\x02}q\x01(" + inside + b"u."


def _same(data, expected):
    for array, wanted in zip(data[:4], expected, strict=True):
        np.testing.assert_array_equal(array, wanted)
    assert data.train_x.dtype == data.test_x.dtype == np.uint8
    assert data.train_y.dtype == data.test_y.dtype == np.int64
    assert data.train_x.flags.c_contiguous and data.test_x.flags.c_contiguous


DUMPS = {f"protocol {k}": _pickled(k) for k in range(2, 6)} | {
    "Python 2": _python_2,
    "names as text": _pickled(4, as_bytes=False),
}


@pytest.mark.parametrize("dump", DUMPS.values(), ids=DUMPS)
def test_cifar_from_pickles(tmp_path, dump):
    expected = _cifar(tmp_path / "cifar-10-batches-py", dump)
    data = load_cifar10(tmp_path)
    _same(data, expected)
    _same(load_cifar10(str(tmp_path / "cifar-10-batches-py")), expected)
    assert data.classes[0] == "airplane" and data.classes[9] == "truck" and len(data.classes) == 10


def test_the_pickle_of_python_2_is_one():
    """`_python_2` writes what Python itself reads as the same arrays."""
    rows = _rows(_pictures(3))
    loaded = pickle.loads(_python_2(rows, [1, 2, 3]), encoding="bytes")
    np.testing.assert_array_equal(loaded[b"data"], rows)
    assert loaded[b"labels"] == [1, 2, 3] and len(loaded[b"filenames"]) == 3


def test_cifar_from_the_binary_files(tmp_path):
    expected = _cifar(tmp_path / "cifar-10-batches-bin", _binary, ".bin")
    _same(load_cifar10(tmp_path), expected)
    _same(load_cifar10(tmp_path / "cifar-10-batches-bin"), expected)


def test_a_picture_of_cifar_is_upright_and_its_colours_are_its_own(tmp_path):
    """Red grows to the right, green downwards, blue is 7: by hand, so that no helper of the tests can be wrong too."""
    ramp = list(range(0, 32 * 8, 8))
    row = bytes(ramp * 32) + bytes(value for value in ramp for _ in range(32)) + bytes([7] * 1024)
    for name in NAMES:
        (tmp_path / f"{name}.bin").write_bytes(bytes([4]) + row)
    image = load_cifar10(tmp_path).test_x[0]
    assert image[3, 20].tolist() == [160, 24, 7] and image[31, 0].tolist() == [0, 248, 7]


def test_cifar_as_floats(tmp_path):
    _cifar(tmp_path / "a", _binary, ".bin", counts=(40,) * 6)
    data = load_cifar10(tmp_path / "a")
    x = normalise(data.train_x, data.preprocessing)
    assert x.dtype == np.float32 and x.shape == data.train_x.shape
    np.testing.assert_allclose(x[3, 4, 5, 1], (data.train_x[3, 4, 5, 1] / 255 - 0.4822) / 0.2435, rtol=1e-5)


def test_cifar_missing(tmp_path):
    _refused(load_cifar10, tmp_path / "nothing", "no such folder")
    _refused(load_cifar10, tmp_path, "holds no CIFAR-10", "data_batch_1")
    _cifar(tmp_path / "a", _binary, ".bin")
    (tmp_path / "a" / "data_batch_3.bin").unlink()
    _refused(load_cifar10, tmp_path / "a", "is incomplete: data_batch_3.bin missing")


@pytest.mark.parametrize(
    "content, text",
    [
        (b"", "must hold 1 to 10000 pictures of 3073 bytes; has 0 bytes"),
        (bytes(3072), "has 3072 bytes"),
        (bytes(3073 * 10_001), "has 30733073 bytes"),
        (bytes([10]) + bytes(3072), "labels must lie between 0 and 9; they reach from 10 to 10"),
    ],
)
def test_cifar_damaged_binary(tmp_path, content, text):
    _cifar(tmp_path / "a", _binary, ".bin")
    path = tmp_path / "a" / "data_batch_2.bin"
    path.write_bytes(content)
    assert _refused(load_cifar10, tmp_path / "a", text).startswith(str(path))


class _Hostile:
    def __reduce__(self):
        return (os.mkdir, ("harm",))


def _batch(**changes):
    values = {"labels": [1, 2], "data": _rows(_pictures(2)), **changes}
    return pickle.dumps({key.encode(): value for key, value in values.items()}, 4)


@pytest.mark.parametrize(
    "content, text",
    [
        (b"", "is no CIFAR-10 batch, or damaged"),
        (b"not a pickle", "is no CIFAR-10 batch, or damaged"),
        (_batch()[:3000], "is no CIFAR-10 batch, or damaged"),
        (pickle.dumps([1, 2]), "is damaged: 0 labels and 0 values"),
        (_batch(labels=[1]), "is damaged: 1 labels and 6144 values"),
        (_batch(labels=[]), "is damaged: 0 labels"),
        (_batch(labels=[1, 10]), "labels must lie between 0 and 9; they reach from 1 to 10"),
        (_batch(labels=[1, -1]), "they reach from -1 to 1"),
        (_batch(labels=[1, 2**40]), "is damaged: 1 labels"),
        (_batch(data=_rows(_pictures(2)).astype(np.float32)), "is damaged: 2 labels and 24576 values"),
        (_batch(data=np.asfortranarray(_rows(_pictures(2)))), "its pixels are stored column by column"),
        (_batch(labels=[1] * 10_001), "more than 10000 labels"),
        (b"\x80\x02" + b"N0" * 200_000 + b"N.", "more than 200000 steps"),
        (b"\x80\x04\x8e" + (1 << 60).to_bytes(8, "little"), "is no CIFAR-10 batch, or damaged"),
        (b"\x80\x02r\xff\xff\xff\xff.", "is damaged"),
        (bytes(61_440_001), "must be at most 61440000 bytes"),
    ],
)
def test_cifar_damaged_pickle(tmp_path, content, text):
    _cifar(tmp_path / "a", _pickled(4))
    path = tmp_path / "a" / "data_batch_2"
    path.write_bytes(content)
    before = peak_memory()
    assert _refused(load_cifar10, tmp_path / "a", text).startswith(str(path))
    assert peak_memory() - before < 200e6


def test_no_pickle_of_cifar_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _cifar(tmp_path / "a", _pickled(4))
    for content in (pickle.dumps(_Hostile()), _batch(more=_Hostile()), _batch(labels=_Hostile())):
        (tmp_path / "a" / "data_batch_2").write_bytes(content)
        try:
            load_cifar10(tmp_path / "a")
        except ValueError as error:
            assert str(error).startswith(str(tmp_path / "a"))
        assert os.listdir(tmp_path) == ["a"]


def test_garbled_batches_are_read_or_refused(tmp_path):
    rng = np.random.default_rng(0)
    _cifar(tmp_path / "a", _python_2)
    path = tmp_path / "a" / "test_batch"
    whole = path.read_bytes()
    structure = [k for k in range(len(whole)) if k < 200 or k > len(whole) - 250]
    for _ in range(300):
        content = bytearray(whole)
        for position in rng.choice(structure, 2):
            content[position] = rng.integers(256)
        path.write_bytes(content)
        try:
            data = load_cifar10(tmp_path / "a")
        except ValueError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
        else:
            assert data.test_x.shape[1:] == (32, 32, 3) and data.test_y.min() >= 0 and data.test_y.max() <= 9


# -- CIFAR-100


def _cifar100(path, dump, ending=""):
    path.mkdir(parents=True)
    result = []
    for seed, (name, count) in enumerate((("train", 7), ("test", 5))):
        x, rng = _pictures(count, seed), np.random.default_rng(seed)
        fine, coarse = rng.integers(0, 100, count), rng.integers(0, 20, count)
        (path / f"{name}{ending}").write_bytes(dump(_rows(x), fine.tolist(), coarse.tolist()))
        result.append((x, fine, coarse))
    (train_x, *train_y), (test_x, *test_y) = result
    return {"fine": (train_x, train_y[0], test_x, test_y[0]), "coarse": (train_x, train_y[1], test_x, test_y[1])}


def _binary_100(rows, fine, coarse):
    return b"".join(bytes([c, f]) + row.tobytes() for row, f, c in zip(rows, fine, coarse, strict=True))


def _pickled_100(rows, fine, coarse):
    names = [b"a_s_000001.png"] * len(fine)
    values = {"filenames": names, "batch_label": b"a", "fine_labels": fine, "coarse_labels": coarse, "data": rows}
    return pickle.dumps({key.encode(): value for key, value in values.items()}, 2)


@pytest.mark.parametrize("labels, last, count", [("fine", "worm", 100), ("coarse", "vehicles_2", 20)])
@pytest.mark.parametrize(
    "name, dump, ending", [("cifar-100-python", _pickled_100, ""), ("cifar-100-binary", _binary_100, ".bin")]
)
def test_cifar_100_has_two_labels_a_picture(tmp_path, name, dump, ending, labels, last, count):
    expected = _cifar100(tmp_path / name, dump, ending)[labels]
    for folder_ in (tmp_path, tmp_path / name):
        data = load_cifar100(folder_, labels)
        _same(data, expected)
    assert data.classes[-1] == last and len(set(data.classes)) == count
    source = "cifar100" if labels == "fine" else "cifar100-coarse"
    assert datasets.load(f"{source}:{tmp_path}").data.classes == data.classes
    _refused(load_cifar10, tmp_path, "holds no CIFAR-10")


def test_cifar_100_damaged(tmp_path):
    _cifar100(tmp_path / "a", _binary_100, ".bin")
    _refused(load_cifar100, tmp_path, "holds no CIFAR-100: no train or train.bin")
    with pytest.raises(ValueError, match="labels must be one of coarse, fine; was 'all'"):
        load_cifar100(tmp_path / "a", "all")
    (tmp_path / "a" / "test.bin").write_bytes(bytes([0, 100]) + bytes(3072))
    _refused(load_cifar100, tmp_path / "a", "labels must lie between 0 and 99; they reach from 100 to 100")
    (tmp_path / "a" / "test.bin").write_bytes(bytes(3073))
    _refused(load_cifar100, tmp_path / "a", "pictures of 3074 bytes; has 3073 bytes")


# -- MNIST


def _idx(array, dtype_code=8):
    return bytes([0, 0, dtype_code, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def _mnist(path, packed=False, sign="-", shape=(5, 7)):
    """A small MNIST of images that are not square."""
    path.mkdir(parents=True, exist_ok=True)
    rng, result = np.random.default_rng(0), []
    for name, count in (("train", 9), ("t10k", 4)):
        x, y = rng.integers(0, 256, (count, *shape)).astype(np.uint8), rng.integers(0, 10, count).astype(np.uint8)
        result += [x[..., None], y]
        for kind, array in (("images", x), ("labels", y)):
            file = path / f"{name}-{kind}{sign}idx{array.ndim}-ubyte"
            content = _idx(array)
            file.with_name(file.name + (".gz" if packed else "")).write_bytes(
                gzip.compress(content) if packed else content
            )
    return result


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("sign", ["-", "."])
def test_mnist(tmp_path, packed, sign):
    expected = _mnist(tmp_path / "a", packed, sign)
    data = load_mnist(tmp_path / "a")
    _same(data, expected)
    assert data.classes == tuple("0123456789")
    x = normalise(data.test_x, data.preprocessing)
    np.testing.assert_allclose(x, (expected[2] / 255 - 0.1307) / 0.3081, rtol=1e-4, atol=1e-6)
    assert data.preprocessing.checked().resize == (5, 7)


def test_mnist_missing(tmp_path):
    _refused(load_mnist, tmp_path / "nothing", "no such folder")
    _refused(load_mnist, tmp_path, "holds no MNIST: train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k")
    _mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    _refused(load_mnist, tmp_path, "holds no MNIST: t10k-labels-idx1-ubyte missing")


def _lying(*shape):
    return bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "content, text",
    [
        (b"", "is no IDX file"),
        (_lying(9, 5), "is no IDX file of bytes with 3 axes"),
        (_idx(np.zeros((9, 5, 7)), 14), "is no IDX file of bytes"),
        (_lying(9, 5, 7)[:-1], "is no IDX file"),
        (_lying(9, 5, 7) + bytes(314), "is damaged: claims 315 bytes and holds 314"),
        (_lying(9, 5, 7) + bytes(316), "is damaged: claims 315 bytes and holds more"),
        (_lying(0, 5, 7), "claims 0 x 5 x 7 values, which it cannot hold"),
        (_lying(2**32 - 1, 2**32 - 1, 2**32 - 1), "which it cannot hold"),
        (_lying(60_000, 28, 28), "which it cannot hold"),
        (_idx(np.zeros((8, 5, 7), np.uint8)), "must hold a label for each of 8 images; holds 9"),
        (_idx(np.zeros((9, 6, 7), np.uint8)), "images to train on and to test on must be of one size"),
    ],
)
def test_mnist_damaged(tmp_path, content, text, packed):
    _mnist(tmp_path, packed)
    path = tmp_path / ("train-images-idx3-ubyte" + (".gz" if packed else ""))
    path.write_bytes(gzip.compress(content) if packed else content)
    _refused(load_mnist, tmp_path, text)


def test_mnist_labels_beyond_nine(tmp_path):
    _mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(_idx(np.array([1, 2, 10, 3], np.uint8)))
    _refused(load_mnist, tmp_path, "labels must lie between 0 and 9; one is 10")


def test_a_gzip_bomb_and_damaged_gzip(tmp_path):
    _mnist(tmp_path, packed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    bomb = gzip.compress(_lying(9, 5, 7) + bytes(200_000_000))  # 200 kB
    before = peak_memory()
    path.write_bytes(bomb)
    _refused(load_mnist, tmp_path, "claims 315 bytes and holds more")
    path.write_bytes(gzip.compress(_lying(2000, 1000, 1000) + bytes(1000)))
    _refused(load_mnist, tmp_path, "which it cannot hold")
    assert peak_memory() - before < 50e6
    good = gzip.compress(_idx(np.random.default_rng(0).integers(0, 256, (9, 5, 7)).astype(np.uint8)))
    for content in (good[:-100], good[:12], b"not gzip", good[:40] + b"\xff\xff" + good[42:], good[:-8] + bytes(8)):
        path.write_bytes(content)
        _refused(load_mnist, tmp_path, "is no gzip file, or damaged")


def _emnist(path, split, first=0, count=26, packed=".gz"):
    """A small split of EMNIST, as it is published: rows and columns exchanged."""
    path.mkdir(parents=True, exist_ok=True)
    rng, result = np.random.default_rng(0), []
    for name in ("train", "test"):
        x = rng.integers(0, 256, (count, 5, 7)).astype(np.uint8)
        y = (np.arange(count) + first).astype(np.uint8)
        result += [x[..., None], y.astype(np.int64) - first]
        for kind, array in (("images", x.transpose(0, 2, 1)), ("labels", y)):
            content = _idx(np.ascontiguousarray(array))
            file = path / f"emnist-{split}-{name}-{kind}-idx{array.ndim}-ubyte{packed}"
            file.write_bytes(gzip.compress(content) if packed else content)
    return result


@pytest.mark.parametrize(
    "split, first, count, last",
    [("letters", 1, 26, "Z"), ("byclass", 0, 62, "z"), ("balanced", 0, 47, "t"), ("bymerge", 0, 47, "t")]
    + [("digits", 0, 10, "9"), ("mnist", 0, 10, "9")],
)
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_the_splits_of_emnist(tmp_path, split, first, count, last, packed):
    expected = _emnist(tmp_path / "EMNIST" / "raw", split, first, count, packed)
    for place in (tmp_path, tmp_path / "EMNIST" / "raw", tmp_path / "EMNIST" / "raw" / f"emnist-{split}"):
        data = load_mnist(place)
        _same(data, expected)
        assert len(data.classes) == count and data.classes[-1] == last
    pixels = expected[0] / 255
    assert data.preprocessing.mean == pytest.approx((pixels.mean(),), abs=1e-4)
    assert data.preprocessing.std == pytest.approx((pixels.std(),), abs=1e-4)
    assert f"{count} classes, {count} pictures to train on" in data.found[0] and "turned upright" in data.found[2]


def test_several_data_sets_below_one_folder(tmp_path):
    _mnist(tmp_path / "MNIST" / "raw")
    _mnist(tmp_path / "MNIST" / "raw", packed=True)  # torchvision leaves both
    data = load_mnist(tmp_path)
    assert data.classes == tuple("0123456789") and len(data.train_y) == 9
    _mnist(tmp_path / "FashionMNIST" / "raw")
    _refused(load_mnist, tmp_path, "holds several data sets; name one: ", "FashionMNIST/raw", "MNIST/raw")
    assert load_mnist(tmp_path / "FashionMNIST").classes[9] == "Ankle boot"
    expected = _emnist(tmp_path / "emnist", "letters", 1)
    _emnist(tmp_path / "emnist", "digits", 0, 10)
    _refused(load_mnist, tmp_path / "emnist", "name one: ", "emnist-digits", "emnist-letters")
    _same(load_mnist(tmp_path / "emnist" / "emnist-letters"), expected)
    _refused(load_mnist, tmp_path / "emnist" / "emnist-balanced", "no such folder")
    _emnist(tmp_path / "wrong", "letters", 0)
    _refused(load_mnist, tmp_path / "wrong", "labels must lie between 1 and 26; one is 0")


@pytest.mark.parametrize("name, begins, first", [("fashion", 9, "T-shirt/top"), ("kmnist", 8, "o"), ("mnist", 5, "0")])
def test_the_first_labels_say_which_set_it_is(tmp_path, name, begins, first):
    _mnist(tmp_path)
    labels = np.array(mnist._BEGINS[name], np.uint8)
    assert labels[0] == begins
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(_idx(labels))
    (tmp_path / "train-images-idx3-ubyte").write_bytes(_idx(np.zeros((10, 5, 7), np.uint8)))
    assert load_mnist(tmp_path).classes[0] == first


def _npz(path, save=np.savez, **changes):
    """MNIST as Keras's download has it."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 9), ("test", 4)):
        arrays[f"x_{part}"] = rng.integers(0, 256, (count, 5, 7)).astype(np.uint8)
        arrays[f"y_{part}"] = rng.integers(0, 10, count).astype(np.uint8)
    arrays |= changes
    path.parent.mkdir(parents=True, exist_ok=True)
    save(path, **{name: value for name, value in arrays.items() if value is not None})
    return arrays


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_mnist_of_keras(tmp_path, save):
    path = tmp_path / "datasets" / "mnist.npz"
    arrays = _npz(path, save)
    expected = [arrays[name] for name in ("x_train", "y_train", "x_test", "y_test")]
    expected = [array[..., None] if array.ndim == 3 else array.astype(np.int64) for array in expected]
    for place in (tmp_path, path.parent, path, path.with_suffix("")):
        data = load_mnist(place)
        _same(data, expected)
        assert data.found[0] == f"{path}: 10 classes, 9 pictures to train on, 4 held out"
    source = datasets.load(f"mnist:{path}")
    assert source.strides == "digits" and source.data.preprocessing == data.preprocessing


@pytest.mark.parametrize("kind", [np.int64, np.int8, ">u2"])
def test_arrays_of_a_npz_in_other_layouts(tmp_path, kind):
    plain, path = _npz(tmp_path / "a.npz"), tmp_path / "b.npz"
    labels = plain["y_train"].astype(kind)[:, None]
    _npz(path, x_train=np.asfortranarray(plain["x_train"]), x_test=plain["x_test"][..., None], y_train=labels)
    for one, other in zip(load_mnist(tmp_path / "a")[:4], load_mnist(path)[:4], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("start", [b"\x93NUMPY\x01\0", b"\x93NUMPY\x02\0", b"\x93NUMPY\x03\0"])
@pytest.mark.parametrize("shape", ["(9, 5, 7)", "(9L, 5L, 7L)"])
def test_headers_of_other_versions(tmp_path, start, shape):
    """Of the array itself, and as Python 2 wrote them."""
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    content = bytes(range(256)) + bytes(59)
    _raw(tmp_path, start + len(head).to_bytes(2 if start[6] == 1 else 4, "little") + head + content)
    np.testing.assert_array_equal(load_mnist(tmp_path).train_x.ravel(), np.frombuffer(content, np.uint8))


def test_pixels_that_are_nearly_black_are_said(tmp_path):
    _npz(tmp_path / "m.npz", x_train=np.ones((9, 5, 7), np.uint8))
    assert "  pixels are at most 1, where 255 is white: multiply them" in load_mnist(tmp_path).found
    _npz(tmp_path / "m.npz")
    assert not any("pixels are" in line for line in load_mnist(tmp_path).found)


def test_a_npz_that_shrank_a_thousandfold(tmp_path):
    arrays = _npz(tmp_path / "m.npz", np.savez_compressed, x_train=np.zeros((9, 1400, 1400), np.uint8),
                  x_test=np.zeros((4, 1400, 1400), np.uint8))  # fmt: skip
    assert (tmp_path / "m.npz").stat().st_size * 800 < arrays["x_train"].nbytes + arrays["x_test"].nbytes
    assert load_mnist(tmp_path).train_x.shape == (9, 1400, 1400, 1)


def test_several_data_sets_with_a_npz_among_them(tmp_path):
    _npz(tmp_path / "mnist.npz")
    _mnist(tmp_path / "MNIST" / "raw")
    np.savez(tmp_path / "run.npz", x=np.zeros(3))  # nothing of the kind
    (tmp_path / "damaged.npz").write_bytes(b"PK nothing")
    os.mkfifo(tmp_path / "pipe.npz")
    _refused(load_mnist, tmp_path, "holds several data sets; name one: ", "mnist.npz", "MNIST/raw")
    assert len(load_mnist(tmp_path / "mnist.npz").train_y) == 9
    _npz(tmp_path / "fashion_mnist.npz")
    assert load_mnist(tmp_path / "fashion_mnist.npz").classes[9] == "Ankle boot"


def _raw(tmp_path, content):
    """A .npz whose x_train is these bytes."""
    _npz(tmp_path / "m.npz", x_train=None)
    with zipfile.ZipFile(tmp_path / "m.npz", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", content)


def _npy(shape, content, dtype="|u1"):
    head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + content


@pytest.mark.parametrize(
    "content, text",
    [
        (b"", "the array x_train has a header that is never written"),
        (b"\x93NUMPY\x01\x00\x05\x00{[(((", "the array x_train has a header that is never written"),
        (_npy("(9, 5, 7)", bytes(314)), "is damaged: the array x_train has 314 bytes and claims others"),
        (_npy("(9, 5, 7)", bytes(10**8)), "is damaged: the array x_train has 100000000 bytes and claims others"),
        (_npy("(9000, 5000, 7000)", b""), "is damaged: the array x_train has 0 bytes and claims others"),
        (_npy("(-9, -5, 7)", bytes(315)), "the array x_train has a header that is never written"),
        (_npy("(0, 5, 7)", b""), "3 axes, none of length 0; was uint8 of shape (0, 5, 7)"),
        (_npy("(9, 5, 7)", bytes(315), "|O"), "has the array x_train of |O, which are no numbers"),
        (_npy("(9, 5, 7)", bytes(1260), "<f4"), "x_train must be uint8 with 3 axes, none of length 0; was float32 of"),
        (_npy("(9, 5, 7, 3)", bytes(945)), "3 axes, none of length 0; was uint8 of shape (9, 5, 7, 3)"),
    ],
)
def test_a_damaged_npz(tmp_path, content, text):
    _raw(tmp_path, content)
    before = peak_memory()
    _refused(load_mnist, tmp_path, text)
    assert peak_memory() - before < 50e6


def test_a_npz_of_something_else(tmp_path):
    path = tmp_path / "m.npz"
    _npz(path, x_test=None)
    _refused(load_mnist, path, "holds no MNIST: x_test missing")
    _refused(load_mnist, tmp_path, "holds no MNIST: x_test missing")
    np.savez(path, a=np.zeros(3))
    _refused(load_mnist, path, "holds no MNIST: x_train, y_train, x_test, y_test missing")
    _refused(load_mnist, tmp_path, "holds no MNIST: train-images-idx3-ubyte")
    path.write_bytes(b"nothing")
    _refused(load_mnist, path, "is damaged (BadZipFile: File is not a zip file)")
    _refused(load_mnist, tmp_path, "holds no MNIST: train-images-idx3-ubyte")
    _npz(path, y_train=np.full(9, 10, np.uint8))
    _refused(load_mnist, path, "labels must lie between 0 and 9; one is 10")
    _npz(path, y_train=np.zeros(9, np.float32))
    _refused(load_mnist, path, "y_train must be whole numbers with 1 axes, none of length 0; was float32")
    content = path.read_bytes()
    for k in range(0, len(content), 7):  # whatever is wrong, one line
        path.write_bytes(content[:k] + bytes([content[k] ^ 0xFF]) + content[k + 1 :])
        _refused(load_mnist, path)


def test_the_limit_is_of_what_is_read(tmp_path, monkeypatch):
    """Not of an array beside the four of MNIST."""
    four = {"x_train": (2, 3, 3), "y_train": 2, "x_test": (2, 3, 3), "y_test": 2}
    arrays = {name: np.zeros(shape, np.uint8) for name, shape in four.items()}
    np.savez(tmp_path / "m.npz", more=np.zeros(1000), **arrays)
    monkeypatch.setattr("npmnv2.data.mnist.MOST_BYTES", 1000)
    assert load_mnist(tmp_path / "m.npz").train_x.shape == (2, 3, 3, 1)
    np.savez(tmp_path / "m.npz", **{**arrays, "x_test": np.zeros((100, 3, 3), np.uint8)})
    _refused(load_mnist, tmp_path / "m.npz", "would unpack to")


# -- folders


def _photo(seed, shape=(20, 30)):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3)).astype(np.uint8)


def _folder(path, classes=("cat", "dog"), count=10, shape=(20, 30)):
    for number, name in enumerate(classes):
        (path / name).mkdir(parents=True)
        for k in range(count):
            Image.fromarray(_photo(100 * number + k, shape)).save(path / name / f"{k:02}.png")
    return path


def _bytes(images):
    return sorted(image.tobytes() for image in images)


def test_a_folder_a_class(tmp_path):
    _folder(tmp_path, ("dog", "ant", "cat"))
    data = load_folder(tmp_path, size=20)
    assert data.classes == ("ant", "cat", "dog")
    assert data.train_x.shape == (27, 20, 20, 3) and data.test_x.shape == (3, 20, 20, 3)
    assert data.train_x.dtype == np.uint8 and data.train_y.dtype == np.int64
    assert np.bincount(data.train_y).tolist() == [9, 9, 9] and sorted(data.test_y) == [0, 1, 2]
    middle = [_photo(100 * number + k)[:, 5:25] for number in range(3) for k in range(10)]  # wider than high
    assert _bytes([*data.train_x, *data.test_x]) == _bytes(middle)
    numbers = {"dog": 0, "ant": 1, "cat": 2}
    for image, label in zip(data.train_x, data.train_y, strict=True):
        own = range(10)
        assert any((image == _photo(100 * numbers[data.classes[label]] + k)[:, 5:25]).all() for k in own)


def test_pictures_are_made_as_torchvision_would_and_said_so(tmp_path):
    from npmnv2.data import open_image, prepare

    _folder(tmp_path, count=2, shape=(40, 25))
    data = load_folder(tmp_path, size=16)
    path = next(
        path
        for path in sorted(tmp_path.rglob("*.png"))
        if (prepare(open_image(path), data.preprocessing) == normalise(data.train_x[:1], data.preprocessing)[0]).all()
    )
    assert path.parent.name == "cat"
    assert data.preprocessing.mean == (0.485, 0.456, 0.406) and data.preprocessing.crop == 16


def test_the_split_is_the_same_each_time_and_of_each_class(tmp_path):
    _folder(tmp_path / "a", count=10)
    first, again = load_folder(tmp_path / "a", 8, 0.3), load_folder(tmp_path / "a", 8, 0.3)
    for one, other in zip(first[:4], again[:4], strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.bincount(first.test_y).tolist() == [3, 3]
    assert _bytes(load_folder(tmp_path / "a", 8, 0.3, seed=1).test_x) != _bytes(first.test_x)
    _folder(tmp_path / "b", ("cat", "dog", "eel"), count=10)  # a class more
    more = load_folder(tmp_path / "b", 8, 0.3)
    np.testing.assert_array_equal(more.test_x[:6], first.test_x)
    everything = _bytes([*first.train_x, *first.test_x])
    assert len(set(everything)) == 20


@pytest.mark.parametrize("count, share, held", [(2, 0.1, 1), (3, 0.9, 2), (10, 0.25, 2), (10, 0.99, 9), (5, 0.001, 1)])
def test_what_is_held_out_leaves_something_on_both_sides(tmp_path, count, share, held):
    data = load_folder(_folder(tmp_path / "a", count=count), 8, share)
    assert np.bincount(data.test_y).tolist() == [held, held]
    assert np.bincount(data.train_y).tolist() == [count - held] * 2


@pytest.mark.parametrize("name", ["val", "test"])
def test_folders_for_training_and_testing(tmp_path, name):
    _folder(tmp_path / "train", ("cat", "dog"), 4)
    _folder(tmp_path / name, ("dog",), 3)  # of the pictures of cats
    data = load_folder(tmp_path, 8)
    assert data.train_y.tolist() == [0] * 4 + [1] * 4 and data.test_y.tolist() == [1] * 3
    assert _bytes(data.test_x) == _bytes(data.train_x[:3])


def test_val_comes_before_test_and_train_alone_is_split(tmp_path):
    _folder(tmp_path / "train", count=10)
    assert len(load_folder(tmp_path, 8).test_y) == 2
    _folder(tmp_path / "test", count=5)
    assert len(load_folder(tmp_path, 8).test_y) == 10
    _folder(tmp_path / "val", count=3)
    assert len(load_folder(tmp_path, 8).test_y) == 6


def test_a_class_only_in_test(tmp_path):
    _folder(tmp_path / "train", ("cat", "dog"))
    _folder(tmp_path / "val", ("cow",))
    _refused(load_folder, tmp_path, "holds a class that there is none of to train on: 'cow'")


def test_folders_within_and_what_is_no_picture(tmp_path):
    _folder(tmp_path / "a", count=4)
    plain = load_folder(tmp_path / "a", 8)
    (tmp_path / "a" / "cat" / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "a" / "cat" / "03.png").rename(tmp_path / "a" / "cat" / "deep" / "deeper" / "x.PNG")
    (tmp_path / "a" / "cat" / "readme.txt").write_text("no picture")
    (tmp_path / "a" / "cat" / ".hidden.png").write_text("no picture")
    (tmp_path / "a" / ".git").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("no class")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load_folder(tmp_path / "a", 8)
    assert data.classes == ("cat", "dog")
    assert _bytes([*data.train_x, *data.test_x]) == _bytes([*plain.train_x, *plain.test_x])


def test_damaged_pictures_are_named_counted_and_left_out(tmp_path):
    _folder(tmp_path, count=10)
    whole = load_folder(tmp_path, 8, 0.3)
    for k in range(7):
        (tmp_path / "dog" / f"bad{k}.jpg").write_bytes(b"\xff\xd8\xff nothing")
    with pytest.warns(UserWarning) as caught:
        data = load_folder(tmp_path, 8, 0.3)
    (warning,) = caught
    text = str(warning.message)
    assert text.startswith(f"{tmp_path}: 7 of 27 pictures cannot be read and are left out: {tmp_path / 'dog' / 'bad'}")
    assert text.count("bad") == 5 and text.endswith("; ...") and "\n" not in text
    assert warning.filename == __file__
    assert _bytes([*data.train_x, *data.test_x]) == _bytes([*whole.train_x, *whole.test_x])
    assert len(data.train_x) == len(data.train_y) and len(data.test_x) == len(data.test_y)


def test_folders_that_are_refused(tmp_path):
    _refused(load_folder, tmp_path / "nothing", "no such folder")
    (tmp_path / "file").touch()
    _refused(load_folder, tmp_path / "file", "no such folder")
    (tmp_path / "a").mkdir()
    _refused(load_folder, tmp_path / "a", "must hold a folder for each of two classes or more; there is none")
    _folder(tmp_path / "a", ("cat",))
    _refused(load_folder, tmp_path / "a", "there is only 'cat'")
    (tmp_path / "a" / "dog").mkdir()
    _refused(load_folder, tmp_path / "a", "its class 'dog' has no picture to train on")
    (tmp_path / "a" / "dog" / "x.jpg").write_bytes(b"nothing")
    _refused(load_folder, tmp_path / "a", "its class 'dog' has no picture to train on")
    (tmp_path / "b" / "cat").mkdir(parents=True)
    (tmp_path / "b" / "dog").mkdir()
    _refused(load_folder, tmp_path / "b", "holds no pictures that can be read")
    _folder(tmp_path / "c", count=1)
    _refused(load_folder, tmp_path / "c", "has no picture to hold out for testing")


def test_more_pictures_than_memory(tmp_path, monkeypatch):
    _folder(tmp_path, count=3)
    pages = {"SC_PHYS_PAGES": 1, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(folder.os, "sysconf", pages.__getitem__)
    _refused(load_folder, tmp_path, "its 6 pictures take 0.0 GB at 224 x 224 pixels", "choose a smaller size")
    monkeypatch.delattr(folder.os, "sysconf")
    assert len(load_folder(tmp_path, 8).train_x) == 4


@pytest.mark.parametrize(
    "name, value, error",
    [("size", 0, ValueError), ("size", 5000, ValueError), ("size", 2.5, TypeError), ("held_out", 0, ValueError)]
    + [("held_out", 1, ValueError), ("held_out", "x", TypeError), ("seed", -1, ValueError), ("seed", None, TypeError)],
)
def test_other_arguments(tmp_path, name, value, error):
    with pytest.raises(error, match=f"^{name} must "):
        load_folder(tmp_path, **{name: value})


def test_what_the_readers_say_about_themselves():
    assert len(cifar.CLASSES) == len(mnist.MNIST.classes) == 10
    assert collections.Counter(cifar.CLASSES).most_common(1)[0][1] == 1
    cifar.PREPROCESSING.checked()
