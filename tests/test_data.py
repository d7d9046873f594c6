"""The embedded digits: what the file holds, how it is split, what happens when it is damaged."""

import hashlib
import pathlib

import numpy as np
import pytest

from npmnv2.data import Dataset, digits, load_digits, make_digits

FOLDER = pathlib.Path(digits.__file__).parent


def _pixels(x):
    return ((x[..., 0] + 1) * 8).astype(np.uint8)


def _rows(x, y):
    """Every image with its label as bytes, sorted: the same for any order."""
    return sorted(image.tobytes() + bytes([label]) for image, label in zip(_pixels(x), y, strict=True))


def test_the_file_has_the_checksum_that_the_readme_states():
    with np.load(FOLDER / "digits.npz") as archive:
        assert sorted(archive.files) == ["images", "labels"]
        images, labels = archive["images"], archive["labels"]
    assert images.shape == (1797, 8, 8) and labels.shape == (1797,)
    assert images.dtype == labels.dtype == np.uint8
    assert hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest() == digits.SHA256
    assert f"`{digits.SHA256}`" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_what_it_is():
    data = load_digits()
    assert isinstance(data, Dataset)
    assert data.train_x.shape == (1437, 8, 8, 1) and data.test_x.shape == (360, 8, 8, 1)
    assert data.train_y.shape == (1437,) and data.test_y.shape == (360,)
    assert data.train_x.dtype == data.test_x.dtype == np.float32
    assert data.train_y.dtype == data.test_y.dtype == np.int64
    assert data.classes == tuple("0123456789")
    x, y = np.concatenate([data.train_x, data.test_x]), np.concatenate([data.train_y, data.test_y])
    assert x.min() == -1 and x.max() == 1 and set(np.unique(x * 8)) == set(range(-8, 9))
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # as UCI's digits.names says
    assert all(len(set(part)) == 10 for part in (data.train_y, data.test_y))


@pytest.mark.parametrize("held_out", [1, 360, 1733, 1796, np.int64(360)])
@pytest.mark.parametrize("seed", [0, 7])
def test_the_split_loses_and_doubles_nothing(held_out, seed):
    data = load_digits(held_out, seed)
    assert len(data.test_x) == len(data.test_y) == held_out
    with np.load(FOLDER / "digits.npz") as archive:
        everything = _rows(archive["images"][..., None].astype(np.float32) / 8 - 1, archive["labels"])
    x, y = np.concatenate([data.train_x, data.test_x]), np.concatenate([data.train_y, data.test_y])
    assert _rows(x, y) == everything


def test_the_seed_is_the_split():
    first, again, other = load_digits(seed=3), load_digits(seed=3), load_digits(seed=4)
    for a, b in zip(first[:4], again[:4], strict=True):
        assert a.tobytes() == b.tobytes()
    assert any(a.tobytes() != b.tobytes() for a, b in zip(first[:4], other[:4], strict=True))
    more = load_digits(400, seed=3)  # holding out more of the same shuffle
    np.testing.assert_array_equal(more.test_x[:360], first.test_x)


def test_every_call_gives_arrays_of_its_own():
    first, second = load_digits(), load_digits()
    first.train_x[...] = 0
    assert second.train_x.any() and load_digits().train_x.any()


@pytest.mark.parametrize("value, error", [(0, ValueError), (-1, ValueError), (1797, ValueError), (10**9, ValueError)])
def test_a_split_that_leaves_nothing_is_refused(value, error):
    with pytest.raises(error, match=rf"^held_out must lie between 1 and 1796; was {value}$"):
        load_digits(value)


@pytest.mark.parametrize("value", [True, 1.5, 360.0, "3", None, [3], np.array([3])])
@pytest.mark.parametrize("name", ["held_out", "seed"])
def test_what_is_no_integer_is_refused_by_name(name, value):
    with pytest.raises(TypeError, match=f"^{name} must be an integer; was "):
        load_digits(**{name: value})


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match=r"^seed must be at least 0; was -1$"):
        load_digits(seed=-1)


# -- a damaged file


def _swap_labels(archive):
    return {"images": archive["images"], "labels": archive["labels"][::-1]}


def _brighten(archive):
    images = archive["images"].copy()
    images[100, 4, 4] ^= 1
    return {"images": images, "labels": archive["labels"]}


@pytest.mark.parametrize(
    "change",
    [
        _swap_labels,
        _brighten,
        lambda archive: {"images": archive["images"]},
        lambda archive: {"images": archive["images"][:-1], "labels": archive["labels"][:-1]},
        lambda archive: {"images": archive["images"].astype(object), "labels": archive["labels"]},
    ],
)
def test_other_digits_are_refused(change, tmp_path, monkeypatch):
    with np.load(FOLDER / "digits.npz") as archive:
        np.savez(tmp_path / "digits.npz", **change(archive))
    monkeypatch.setattr(digits, "FILE", tmp_path / "digits.npz")
    with pytest.raises(ValueError, match=r"digits[.]npz .*: install npmnv2 again"):
        load_digits()


def test_a_file_cut_short_or_missing_is_refused(tmp_path, monkeypatch):
    whole = (FOLDER / "digits.npz").read_bytes()
    path = tmp_path / "digits.npz"
    monkeypatch.setattr(digits, "FILE", path)
    with pytest.raises(ValueError, match=r"digits[.]npz is missing or damaged: install npmnv2 again"):
        load_digits()
    for part in (b"", whole[:1], whole[:100], whole[: len(whole) // 2], whole[:-1], b"no zip file", whole[100:]):
        path.write_bytes(part)
        with pytest.raises(ValueError, match=r"digits[.]npz is missing or damaged: install npmnv2 again"):
            load_digits()


def test_a_garbled_byte_is_refused_or_does_no_harm(tmp_path, monkeypatch):
    """Some bytes of a zip file, such as the date, mean nothing; any other must not give other digits."""
    whole, good = (FOLDER / "digits.npz").read_bytes(), load_digits()
    monkeypatch.setattr(digits, "FILE", tmp_path / "digits.npz")
    refused = 0
    for position in [*range(120), *range(120, len(whole) - 200, 1999), *range(len(whole) - 200, len(whole))]:
        digits.FILE.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        try:
            data = load_digits()
        except ValueError as error:
            assert "install npmnv2 again" in str(error)
            refused += 1
        else:
            assert all(a.tobytes() == b.tobytes() for a, b in zip(data[:4], good[:4], strict=True))
    assert refused > 100


# -- where it comes from


@pytest.mark.oracle
def test_scikit_learn_has_the_same_digits():
    from sklearn import datasets

    theirs = datasets.load_digits()
    assert digits.checksum(theirs.images.astype(np.uint8), theirs.target.astype(np.uint8)) == digits.SHA256
    assert (theirs.images.astype(np.uint8) == theirs.images).all()


@pytest.mark.oracle
def test_the_script_makes_the_same_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(make_digits, "FILE", tmp_path / "digits.npz")
    make_digits.main()
    assert capsys.readouterr().out.strip() == digits.SHA256
    monkeypatch.setattr(digits, "FILE", tmp_path / "digits.npz")
    assert load_digits().test_x.shape == (360, 8, 8, 1)
