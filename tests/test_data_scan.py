"""Folders as people have them: which are classes and which are splits, what is a picture, and all that is left out."""

import inspect
import os
import sys
import warnings

import numpy as np
import pytest
from PIL import Image
from test_data_readers import _refused
from test_images import _png_16

from npmnv2.__main__ import main
from npmnv2.data import load_folder, open_image
from npmnv2.data.scan import scan
from npmnv2.train.progress import balanced_order
from npmnv2.train.session import begin, resume
from npmnv2.train.settings import resolve


def _put(top, *names, form="PNG", shade=0):
    for number, name in enumerate(names):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 12), (shade, 10 * number, 0)).save(path, form)
    return top


def _counts(top):
    """Classes, and how many pictures of each are trained on and held out."""
    seen = scan(top)
    count = [
        [sum(label == k for _, label in part) for k in range(len(seen.classes))]
        for part in (seen.train, seen.test or [])
    ]
    return seen.classes, *count


PAIRS = [  # training, held out
    ("train", "validation"),
    ("train", "valid"),
    ("train", "Val"),
    ("train", "dev"),
    ("Train", "Test"),
    ("Training", "Testing"),
    ("training_set", "test_set"),
    ("TRAIN", "TEST"),
    ("train_images", "val_images"),
    ("train2017", "val2017"),
    ("trainset", "testset"),
    ("seg_train", "seg_test"),
    ("pets train", "pets eval"),
]


@pytest.mark.parametrize("train, held", PAIRS)
@pytest.mark.parametrize("around", ["", "archive/", "data/unpacked/"])
def test_the_usual_names_of_splits(tmp_path, train, held, around):
    _put(tmp_path, *(f"{around}{train}/{name}/{k}.png" for name in ("cat", "dog") for k in range(3)))
    _put(tmp_path, *(f"{around}{held}/{name}/{k}.png" for name in ("cat", "dog") for k in range(2)))
    assert _counts(tmp_path) == (("cat", "dog"), [3, 3], [2, 2])
    assert f"trained on: {train}; held out: {held}" in scan(tmp_path).said


def test_a_split_within_itself_and_within_the_classes(tmp_path):
    """training_set/training_set/cats, as a well-known archive unpacks; cats/train, cats/test."""
    for split, n in (("training_set", 3), ("test_set", 2)):
        _put(tmp_path / "a", *(f"{split}/{split}/{name}/{k}.jpg" for name in ("cats", "dogs") for k in range(n)))
    assert _counts(tmp_path / "a") == (("cats", "dogs"), [3, 3], [2, 2])
    for split, n in (("train", 3), ("test", 2)):
        _put(tmp_path / "b", *(f"{name}/{split}/{k}.jpg" for name in ("cats", "dogs") for k in range(n)))
    assert _counts(tmp_path / "b") == (("cats", "dogs"), [3, 3], [2, 2])


@pytest.mark.parametrize("classes", [("fold1", "fold2", "fold3"), ("images", "masks")])
@pytest.mark.parametrize("around", ["", "train/"])
def test_folds_and_masks_may_not_be_the_classes(tmp_path, classes, around):
    """Every class has the same folders: both readings are possible, and one is said with the other."""
    hint = "within each class: the folders 'cat', 'dog'; if these are the classes, give a folder that holds them"
    _put(tmp_path, *(f"{around}{fold}/{name}/{k}.png" for fold in classes for name in ("cat", "dog") for k in range(2)))
    assert scan(tmp_path).classes == classes and hint in scan(tmp_path).said
    _put(tmp_path, f"{around}{classes[0]}/1.png")  # then they are
    assert hint not in scan(tmp_path).said
    for name in ("a/left/1.png", "a/right/1.png", "b/left/1.png"):
        _put(tmp_path / "other", name)
    assert not any(said.startswith("within each class") for said in scan(tmp_path / "other").said)


def test_three_splits_and_what_lies_beside_them(tmp_path):
    _put(
        tmp_path,
        "train/cat/1.png",
        "train/dog/1.png",
        "valid/cat/1.png",
        "test/dog/1.png",
        "test/dog/2.png",
        "labels/x.png",
    )
    _put(tmp_path, "train/3.png")
    assert _counts(tmp_path) == (("cat", "dog"), [1, 1], [1, 0])
    assert {reason: len(paths) for reason, paths in scan(tmp_path).left_out.items()} == {
        "of the split test: val is held out": 2,
        "beside the folders of the splits": 1,
        "in no class's folder": 1,
    }


def test_classes_beside_a_folder_of_what_is_held_out(tmp_path):
    _put(tmp_path, "cat/1.png", "cat/2.png", "dog/1.png", "test/cat/1.png", "test/dog/1.png")
    assert _counts(tmp_path) == (("cat", "dog"), [2, 1], [1, 1])
    assert scan(tmp_path).said == ["trained on: what lies beside test; held out: test"]


@pytest.mark.parametrize(
    "names, text",
    [
        (["plane/1.png", "train/1.png"], "'train' is called like a split, but holds pictures and no folder"),
        (["cat/1.png", "dog/1.png", "test/1.png"], "'test' is called like a split"),
        (["valid/1.png", "invalid/1.png"], "'valid' is called like a split"),
        (["train/1.png", "test/1.png"], "is called like a split"),
        (["train/cat/1.png", "Training/cat/1.png"], "must hold one folder a split; 'Training', 'train' are all train"),
        (["val/cat/1.png", "test/cat/1.png"], "holds pictures for val and test, but none to train on"),
        (["train/cat/1.png", "train/dog/1.png", "val/cow/1.png"], "a class that there is none of to train on: 'cow'"),
        (["cat/1.png", "cat/deep/2.png"], "there is only 'cat'"),
        (["1.png", "2.png"], "must hold a folder for each of two classes or more; there is none"),
    ],
)
def test_what_can_be_understood_in_two_ways_is_an_error(tmp_path, names, text):
    _refused(load_folder, _put(tmp_path, *names), text)


def test_an_archive_that_nobody_unpacked_and_the_home_folder(tmp_path, monkeypatch):
    (tmp_path / "a.zip").write_bytes(b"PK")
    _refused(load_folder, tmp_path / "a.zip", "no such folder; it is a file: unpack it first")
    _put(tmp_path, "pets/cat/1.png", "pets/dog/1.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert scan("~/pets").classes == ("cat", "dog")


# -- what is a picture


@pytest.mark.parametrize(
    "form, ending", [("JPEG", ".jfif"), ("JPEG", ".jpe"), ("PNG", ""), ("WEBP", ".txt"), ("JPEG", ".JPG")]
)
def test_content_decides_what_is_a_picture(tmp_path, form, ending):
    _put(tmp_path, *(f"{name}/{k}{ending}" for name in ("cat", "dog") for k in range(2)), form=form)
    assert _counts(tmp_path) == (("cat", "dog"), [2, 2], [0, 0])


def test_every_file_that_is_left_out_is_counted_with_the_reason(tmp_path):
    _put(tmp_path, *(f"{name}/{k}.png" for name in ("cat", "dog") for k in range(4)))
    _put(tmp_path, "__MACOSX/cat/._0.png", "cat/.ipynb_checkpoints/0.png", "cat/0.png~")
    (tmp_path / "cat" / "notes.txt").write_text("no picture")
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"\xd0\xcf")
    (tmp_path / "dog" / "gone.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "dog" / "round").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "dog" / "pipe.png")
    (tmp_path / "dog" / "bad.png").write_bytes(b"<html>")
    (tmp_path / "dog" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.warns(
        UserWarning, match=r"2 of 10 pictures cannot be read .*bad.png: is no picture, .*convert it to JPEG"
    ):
        data = load_folder(tmp_path, 8)
    assert data.classes == ("cat", "dog") and len(data.train_y) + len(data.test_y) == 8
    assert data.found[0] == f"{tmp_path}: 2 classes, 6 pictures to train on, 2 held out"
    rows = [line.split() for line in data.found]
    assert ["cat", "3", "1"] in rows and ["dog", "3", "1"] in rows
    left_out = [line.strip() for line in data.found if "left out" in line]
    assert left_out == [
        "left out, hidden, or of an archiver or a system: 2 (__MACOSX, cat/.ipynb_checkpoints)",
        "left out, an editor's copy: 1 (cat/0.png~)",
        "left out, no picture: 2 (cat/Thumbs.db, cat/notes.txt)",
        "left out, a link that leads nowhere: 1 (dog/gone.png)",
        "left out, no file, but a pipe or a device: 1 (dog/pipe.png)",
        "left out, a link to a folder that it lies in: 1 (dog/round)",
    ]


def test_links_are_followed(tmp_path):
    _put(tmp_path / "far", "cat/1.png", "cat/2.png", "dog.png")
    _put(tmp_path / "a", "cow/1.png", "dog/1.png")
    (tmp_path / "a" / "cat").symlink_to(tmp_path / "far" / "cat")
    (tmp_path / "a" / "dog" / "2").symlink_to(tmp_path / "far" / "dog.png")
    (tmp_path / "a" / "cow" / "more").symlink_to(tmp_path / "far" / "cat")
    assert _counts(tmp_path / "a") == (("cat", "cow", "dog"), [2, 3, 2], [0, 0, 0])


def test_folders_within_folders_are_no_recursion(tmp_path, monkeypatch):
    _put(tmp_path, "cat/1.png", "dog/1.png")
    monkeypatch.chdir(tmp_path / "cat")
    for _ in range(300):
        os.mkdir("d")
        os.chdir("d")
    deeper = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        assert scan(tmp_path).classes == ("cat", "dog")
    finally:
        sys.setrecursionlimit(deeper)
    monkeypatch.setattr("npmnv2.data.scan.MOST_FOLDERS", 100)
    _refused(scan, tmp_path, "must hold at most 100 folders")


# -- integers that do not fill their range


def _tiff(path, values):
    """Integers as a TIFF, by hand: Pillow writes no unsigned 32 bits."""
    H, W = values.shape
    signed = 2 if values.dtype.kind == "i" else 1
    entries = {256: W, 257: H, 258: 8 * values.itemsize, 259: 1, 262: 1, 273: 8, 277: 1, 278: H, 279: values.nbytes}
    fields = b"".join(
        tag.to_bytes(2, "little") + b"\4\0\1\0\0\0" + value.to_bytes(4, "little")
        for tag, value in {**entries, 339: signed}.items()
    )
    where = (8 + values.nbytes).to_bytes(4, "little")
    path.write_bytes(b"II*\0" + where + values.tobytes() + (10).to_bytes(2, "little") + fields + bytes(4))
    return path


@pytest.mark.parametrize("dtype", [np.uint32, np.int32, np.uint16])
@pytest.mark.parametrize("bits", [8, 12, 16, 31, 32])
def test_the_range_that_is_used_becomes_8_bits(tmp_path, dtype, bits):
    size = 8 * np.dtype(dtype).itemsize
    if bits > size - (dtype == np.int32):
        bits = size - (dtype == np.int32)
    values = np.random.default_rng(0).integers(0, 2**bits, (6, 4), dtype=np.int64)
    values[0, :2] = 0, 2**bits - 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = open_image(_tiff(tmp_path / "a.tif", values.astype(dtype)))
    taken = 32 if bits == 31 else bits
    np.testing.assert_array_equal(image[..., 0], values >> (taken - 8))
    assert len(caught) == (taken < size) and all(f"taken as {taken} bits" in str(w.message) for w in caught)


def test_12_bits_in_a_png_of_16(tmp_path):
    values = np.random.default_rng(0).integers(0, 4096, (6, 4)).astype(np.uint16)
    values[0, 0] = 4095
    with pytest.warns(
        UserWarning, match=r"a.png: has 16 bits, of which its largest value, 4095, needs 12: taken as 12"
    ):
        image = open_image(_png_16(tmp_path / "a.png", values))
    np.testing.assert_array_equal(image[..., 0], values >> 4)


def test_numbers_below_zero_are_refused(tmp_path):
    _refused(open_image, _tiff(tmp_path / "a.tif", np.array([[-1024, 900]], np.int32)), "go down to -1024")


# -- rare classes


def test_every_class_as_often(tmp_path):
    labels = np.repeat([0, 1, 2], [90, 9, 1])
    order = balanced_order(labels, np.random.default_rng(0))
    assert order.shape == (100,) and sorted(np.bincount(labels[order]).tolist()) == [33, 33, 34]
    times = np.bincount(order, minlength=100)
    assert times[:90].max() == 1 and set(times[90:99].tolist()) <= {3, 4}  # each as often as the others, to one
    assert (order != balanced_order(labels, np.random.default_rng(1))).any()


def _unbalanced(top):
    for name, count, shade in (("cat", 12, 0), ("dog", 3, 200)):
        _put(top, *(f"{name}/{k:02}.png" for k in range(count)), shade=shade)
    return top


def test_balance_goes_on_in_the_middle_of_an_epoch(tmp_path):
    given = {"data": f"folder:{_unbalanced(tmp_path / 'a')}", "resolution": 16, "width": 0.1, "epochs": 2}
    settings = resolve({**given, "batch_size": 4, "balance": True})
    whole = begin(settings)
    whole.run()
    calls = iter(range(1))
    part, path = begin(settings), tmp_path / "run.npz"
    with pytest.raises(Exception):  # noqa: B017  it says that it has stopped
        part.run(save=path, stop=lambda: next(calls, None) is None)
    again = resume(path)
    assert np.bincount(again.data.train_y[again.position.order]).tolist() in ([7, 6], [6, 7])
    again.run()
    for name, value in whole.model.state_dict().items():
        np.testing.assert_array_equal(again.model.state_dict()[name], value)


def test_the_command_says_what_it_found_and_how_well_each_class_is_told(tmp_path, capsys):
    _unbalanced(tmp_path)
    words = [
        "train",
        "--data",
        f"folder:{tmp_path}",
        "--resolution",
        "16",
        "--width",
        "0.1",
        "--epochs",
        "1",
        "--balance",
    ]
    assert main(words) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == f"{tmp_path}: 2 classes, 13 pictures to train on, 2 held out" and err == ""
    assert "  dog is 5 times as rare as cat: train --balance shows each class as often" in lines
    assert lines[-3].split() == ["class", "held", "out", "recall"]
    assert [line.split()[:2] for line in lines[-2:]] == [["cat", "1"], ["dog", "1"]]
    assert all(line.split()[2] in ("0.00", "100.00") for line in lines[-2:])
