"""From a file of weights and pictures to names: the functions, then the command as people call it."""

import json
import os
import re
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image
from processes import raw_names

import npmnv2
from npmnv2 import weights
from npmnv2.__main__ import main
from npmnv2.data import load_digits
from npmnv2.data.images import open_image, prepare
from npmnv2.data.preprocessing import PREPROCESSING, Preprocessing
from npmnv2.ops import softmax
from npmnv2.show.classify import BATCH_PIXELS, Answer, Guess, classify, likeliest, load, text

DIGITS = Preprocessing(resize=(8, 8), crop=None, interpolation="bilinear", mean=(0.5,), std=(0.5,), channels=1)


def settled(model, seed=0):
    """Running statistics as training leaves them: of their own in every channel."""
    rng = np.random.default_rng(seed)
    state = model.state_dict()
    for name, value in state.items():
        if name.endswith("bn.var"):
            state[name] = rng.uniform(0.3, 3.0, value.shape)
        elif name.endswith(("bn.mean", "bn.beta")):
            state[name] = rng.normal(0, 0.3, value.shape)
    model.load_state_dict(state)
    return model.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights of a network for digits, and pictures of five of them and one photograph's worth of noise."""
    path = tmp_path_factory.mktemp("classify")
    model = settled(npmnv2.mobilenet_v2(10, 0.1, strides="digits", in_channels=1))
    model.preprocessing, model.labels = DIGITS, [f"digit {k}" for k in range(10)]
    weights.save(model, path / "digits.npz")
    for k, x in enumerate(load_digits().test_x[:5, :, :, 0]):
        Image.fromarray(np.round((x + 1) * 127.5).astype(np.uint8)).save(path / f"{k}.png")
    noise = np.random.default_rng(0).integers(0, 256, (70, 100, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path / "noise.png")
    (path / "broken.png").write_bytes((path / "noise.png").read_bytes()[:500])
    return path


@pytest.fixture(scope="module")
def imagenet(folder):
    """A file with torchvision's names, which says nothing about labels: (path, the network)."""
    model = settled(npmnv2.mobilenet_v2(1000, 0.1))
    path = folder / "imagenet.pth"
    weights.save(model, path, names="torchvision")
    return path, model


# -- the functions


def test_answers_are_the_models_own_in_eval_to_rounding(imagenet, folder):
    path, original = imagenet
    model = load(path)
    (answer,) = classify(model, [folder / "noise.png"], top=1000)
    x = prepare(open_image(folder / "noise.png"), PREPROCESSING["torchvision"])[None]
    p = softmax(original(x).astype(np.float64))[0]
    assert answer.image == str(folder / "noise.png") and answer.error is None
    found = np.zeros(1000)
    for guess in answer.top:
        found[guess.number] = guess.probability
    np.testing.assert_allclose(found, p, rtol=1e-4)
    assert sum(guess.probability for guess in answer.top) == pytest.approx(1, abs=1e-12)
    assert answer.top[0].number == p.argmax()


def test_pictures_of_one_size_share_a_batch_and_answers_come_in_order(folder, monkeypatch):
    model = load(folder / "digits.npz")
    names = [folder / f"{k}.png" for k in range(5)]
    alone = [next(classify(model, [name])) for name in names]
    batches = []
    monkeypatch.setattr(
        "npmnv2.engine.folding.FoldedNetwork.__call__",
        lambda self, x, run=npmnv2.engine.folding.FoldedNetwork.__call__: batches.append(len(x)) or run(self, x),
    )
    together = list(classify(model, names))
    assert batches == [5]
    for one, other in zip(alone, together, strict=True):
        assert one.image == other.image and [g.number for g in one.top] == [g.number for g in other.top]
        assert [g.probability for g in one.top] == pytest.approx([g.probability for g in other.top], rel=1e-5)
    assert len({answer.top[0].probability for answer in together}) == 5  # not one picture five times


def test_a_batch_is_bounded_and_of_one_size(imagenet, folder, monkeypatch, tmp_path):
    model = load(imagenet[0])
    model.preprocessing = PREPROCESSING["torchvision"]._replace(resize=64, crop=None)
    Image.new("RGB", (100, 100)).save(tmp_path / "square.png")
    seen = []
    monkeypatch.setattr(
        "npmnv2.engine.folding.FoldedNetwork.__call__",
        lambda self, x: seen.append(x.shape[:3]) or np.zeros((len(x), 1000)),
    )
    names = [folder / "noise.png"] * 20 + [tmp_path / "square.png"] + [folder / "noise.png"]
    assert [a.image for a in classify(model, names)] == [str(name) for name in names]
    assert all(N * H * W <= BATCH_PIXELS for N, H, W in seen)
    assert [shape[1:] for shape in seen[-2:]] == [(64, 64), (64, 91)] and sum(shape[0] for shape in seen) == 22


def test_a_bad_picture_is_an_answer_and_the_others_are_classified(folder):
    model = load(folder / "digits.npz")
    names = [str(folder / name) for name in ("0.png", "broken.png", "1.png", "none.png", "digits.npz", "", "2.png")]
    answers = list(classify(model, [*names, folder]))
    assert [answer.image for answer in answers] == [*names, str(folder)]
    assert [answer.error is None for answer in answers] == [True, False, True, False, False, False, True, False]
    for answer in answers:
        if answer.error is not None:
            assert answer.error.startswith(answer.image) and "\n" not in answer.error and answer.top == []


def test_what_is_not_finite_is_said(folder):
    model = load(folder / "digits.npz")
    dict(model.named_parameters())["fc.b"].value[3] = np.nan
    (answer,) = classify(model, [folder / "0.png"])
    assert answer.top == [] and "not finite" in answer.error


def test_likeliest():
    logits = np.array([0.0, 5.0, 5.0, -1000.0, 7.0], np.float32)
    guesses = likeliest(logits, None, 3)
    assert [guess.number for guess in guesses] == [4, 1, 2] and guesses[0].label is None
    p = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum()
    assert [guess.probability for guess in guesses] == pytest.approx([p[4], p[1], p[2]], rel=1e-12)
    assert len(likeliest(logits, list("abcde"), 99)) == 5
    assert likeliest(np.array([1e30, 0.0], np.float32), ["a", "b"], 1) == [Guess(0, "a", 1.0)]


def test_preprocessing_is_the_files_or_what_is_asked_for(folder, imagenet, tmp_path):
    assert load(folder / "digits.npz").preprocessing == DIGITS
    assert load(imagenet[0]).preprocessing == PREPROCESSING["torchvision"]
    assert load(imagenet[0], "keras").preprocessing == PREPROCESSING["keras"]
    weights.save(npmnv2.mobilenet_v2(10, 0.1), tmp_path / "silent.npz")
    with pytest.raises(ValueError, match=r"silent.npz: does not say how pictures are prepared; preprocessing must be "):
        load(tmp_path / "silent.npz")
    assert load(tmp_path / "silent.npz", "hf").preprocessing == PREPROCESSING["hf"]
    grey = load(folder / "digits.npz", "timm").preprocessing
    assert (grey.channels, grey.resize) == (1, 256) and grey.mean == pytest.approx([0.449], abs=1e-3)
    with pytest.raises(
        ValueError, match="preprocessing must be one of torchvision, timm, keras, hf, efficientnet_pytorch; was slim"
    ):
        load(imagenet[0], "slim")


def test_labels_are_the_files_or_imagenets_or_what_is_asked_for(folder, imagenet, tmp_path):
    assert load(folder / "digits.npz").labels[7] == "digit 7"
    assert load(imagenet[0]).labels[207] == "golden retriever"
    model = settled(npmnv2.mobilenet_v2(1001, 0.1))
    weights.save(model, tmp_path / "1001.npz")
    labels = load(tmp_path / "1001.npz", "hf").labels
    assert len(labels) == 1001 and labels[0] == "background" and labels[208] == "golden retriever"
    weights.save(npmnv2.mobilenet_v2(7, 0.1), tmp_path / "7.npz")
    assert load(tmp_path / "7.npz", "hf").labels is None
    names = tmp_path / "names.txt"
    names.write_text("\n".join("abcdefg"))
    assert load(tmp_path / "7.npz", "hf", names).labels == list("abcdefg")
    with pytest.raises(ValueError, match=r"names.txt: has 7 labels; the network in .*digits.npz has 10 classes$"):
        load(folder / "digits.npz", labels=names)
    names.write_text("x\n" * 1000)
    with pytest.raises(ValueError, match=r"has 1001 classes; 'background' belongs before them$"):
        load(tmp_path / "1001.npz", "hf", names)


def test_labels_in_another_order_than_the_files_are_told(folder, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"digit {k}" for k in range(9, -1, -1)))
    with pytest.warns(UserWarning, match=r"names.txt: has the names of .*npz in another order, digit 9, .* digit 0, d"):
        assert load(folder / "digits.npz", labels=names).labels[0] == "digit 9"
    for same in ([f"digit {k}" for k in range(10)], [f"number {k}" for k in range(10)]):  # no others, and all others
        names.write_text("\n".join(same))
        assert load(folder / "digits.npz", labels=names).labels == same


def test_text_fits_80_columns_and_obeys_nobody():
    answer = Answer("a\x1b[2J\n.png", [Guess(3, "x" * 200, 1.0), Guess(10, "\x1b[31mred\r", 0.000049)], None)
    lines = text(answer)
    assert lines[0] == "a\\x1b[2J\\n.png" and lines[1].endswith("x... (3)")
    assert all(len(line) <= 80 for line in lines) and lines[2] == "    0.00 %  \\x1b[31mred\\r (10)"


# -- the command


def run(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", "npmnv2", "classify", *map(str, words)], capture_output=True, text=True, **options
    )


def test_lines(folder, capsys):
    assert (
        main(["classify", str(folder / "0.png"), str(folder / "1.png"), "--weights", str(folder / "digits.npz")]) == 0
    )
    out, err = capsys.readouterr()
    head, pictures, why, empty, first, *guesses = out.splitlines()
    assert err == "" and (head, empty, first) == ("MobileNetV2, width 0.1, 10 classes", "", str(folder / "0.png"))
    assert pictures == "pictures: stretched to 8 x 8 (bilinear), grey, mean 0.5, std 0.5"
    assert why == "  as the file of weights says"
    assert len(guesses) == 5 + 2 + 5 and guesses[6] == str(folder / "1.png")
    for line in guesses[:5]:
        assert re.fullmatch(r" {1,5}\d+\.\d\d %  digit (\d) \(\1\)", line)
    shares = [float(line.split()[0]) for line in guesses[:5]]
    assert shares == sorted(shares, reverse=True) and sum(shares) <= 100.05


def test_json_is_one_document(folder, capsys):
    images = [str(folder / name) for name in ("0.png", "broken.png")]
    assert main(["classify", *images, "--weights", str(folder / "digits.npz"), "--top", "3", "--json"]) == 1
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert list(document) == ["weights", "network", "preprocessing", "prepared", "left_out", "images"]
    assert document["weights"] == str(folder / "digits.npz") and "width 0.1" in document["network"]
    assert Preprocessing.from_dict(document["preprocessing"]) == DIGITS
    good, bad = document["images"]
    assert good["image"] == images[0] and len(good["top"]) == 3
    assert good["top"][0]["label"] == f"digit {good['top'][0]['number']}" and 0 < good["top"][0]["probability"] <= 1
    assert list(bad) == ["image", "error"] and bad["error"].startswith(images[1])
    assert err == f"npmnv2 classify: {bad['error']}\n"


def test_a_bad_picture_is_a_line_on_stderr_and_status_1_at_the_end(folder, capsys):
    images = [str(folder / name) for name in ("none.png", "0.png", "broken.png", "1.png")]
    assert main(["classify", *images, "--weights", str(folder / "digits.npz")]) == 1
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert len(lines) == 2 and lines[0] == f"npmnv2 classify: {images[0]}: No such file or directory"
    assert lines[1].startswith(f"npmnv2 classify: {images[2]}: ")
    assert images[1] in out and images[3] in out and images[0] not in out


def test_what_is_often_taken_for_pictures_is_told_with_what_to_do(folder, tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        archive.write(folder / "0.png", "0.png")
    words = ["classify", str(folder / "*.png"), str(tmp_path / "pictures.zip"), str(folder / "0.png"), "--weights"]
    assert main([*words, str(folder / "digits.npz")]) == 1
    star, archive = capsys.readouterr().err.splitlines()
    assert star.endswith(
        "No such file or directory; where it is not in quotes, the shell puts the names of the files in "
        "the place of a *"
    )
    assert archive.endswith("; it is a zip archive: unpack it, and give the folder")


def test_a_folder_is_its_pictures_in_the_order_of_names(folder, tmp_path, capsys):
    """What is a picture, its content says; a file that is called one and is none is an error, all others are listed."""
    for name in ("b/2", "b/1.txt", "a.png", "c/d/0.jpeg", "10.png"):  # all of them PNG
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((folder / "0.png").read_bytes())
    (tmp_path / "b" / "phone.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    (tmp_path / "page.png").write_text("<html>")
    (tmp_path / "list.csv").write_text("a,b")
    (tmp_path / ".DS_Store").write_text("")
    words = ["--weights", str(folder / "digits.npz"), "--top", "1"]
    inside = ["10.png", "a.png", "b/1.txt", "b/2", "b/phone.jpg", "c/d/0.jpeg", "page.png"]
    wanted = [str(tmp_path / name) for name in inside] + [str(folder / "1.png")]
    wrong = {str(tmp_path / "b/phone.jpg"): "is HEIC, which", str(tmp_path / "page.png"): "is no picture of a kind"}
    assert main(["classify", str(tmp_path), str(folder / "1.png"), *words]) == 1
    out, err = capsys.readouterr()
    assert [line for line in out.splitlines() if line.startswith("/")] == [name for name in wanted if name not in wrong]
    left_out = [
        f"{tmp_path}: left out, hidden, or of an archiver or a system: 1 (.DS_Store)",
        f"{tmp_path}: left out, no picture: 1 (list.csv)",
    ]
    assert err.splitlines()[:2] == [f"npmnv2 classify: {line}" for line in left_out]
    for line, (path, why) in zip(err.splitlines()[2:], wrong.items(), strict=True):
        assert line.startswith(f"npmnv2 classify: {path}: {why}")
    assert main(["classify", str(tmp_path), str(folder / "1.png"), *words, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["left_out"] == left_out and [image["image"] for image in document["images"]] == wanted


def test_a_folder_of_one_picture_can_be_drawn(folder, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0").write_bytes((folder / "0.png").read_bytes())
    words = ["--weights", str(folder / "digits.npz"), "--plot", str(tmp_path / "a.svg")]
    assert main(["classify", str(tmp_path / "in"), *words]) == 0 and (tmp_path / "a.svg").exists()


@pytest.mark.parametrize("names", [[], ["a.txt"], ["b/c.txt", ".d/e.png"]])
def test_a_folder_without_a_picture(names, folder, tmp_path, capsys):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    assert main(["classify", str(folder / "0.png"), str(tmp_path), "--weights", str(folder / "digits.npz")]) == 1
    out, err = capsys.readouterr()
    assert (
        out == "" and err.startswith(f"npmnv2 classify: {tmp_path}: holds no picture (JPEG, ") and err.count("\n") == 1
    )
    assert all(name.split("/")[0] in err for name in names)


@pytest.mark.parametrize(
    "words, said",
    [
        ("0.png --weights none.npz", "none.npz: No such file or directory"),
        ("0.png --weights 0.png", "0.png: "),
        ("0.png --weights digits.npz --labels none.txt", "none.txt: No such file or directory"),
        ("0.png --weights digits.npz --labels digits.npz", "digits.npz: is not a list of names"),
        ("0.png --weights digits.npz --mean 0,0.5,1", "--mean must be a tuple of one number; was (0.0, 0.5, 1.0)"),
        ("0.png --weights digits.npz --std 0", "--std must be"),
        (
            "0.png --weights digits.npz --size 9 --resize 3x4",
            "--size must be left out where resize is height and width",
        ),
        ("digits.npz 0.png", "digits.npz is called as a file of weights is, not a picture: --weights digits.npz gives"),
        ("0.png --weights digits.npz --top 0", "--top must be at least 1; was 0"),
        ("0.png 1.png --weights digits.npz --plot a.png", "--plot shows what became of one image; was given 2"),
        ("0.png --weights digits.npz --plot a.zzz", "--plot must end in .png"),
        ("0.png --weights digits.npz --plot none/a.png", "--plot must name a file in an existing folder"),
    ],
)
def test_bad_input_is_one_line_and_status_1(words, said, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert main(["classify", *words.split()]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"npmnv2 classify: {said}") and err.count("\n") == 1


def test_a_library_that_is_missing_is_one_line(imagenet, monkeypatch, capsys):
    path = imagenet[0].with_suffix(".safetensors")
    weights.save(imagenet[1], path, names="torchvision")
    monkeypatch.setitem(sys.modules, "safetensors", None)  # as if it were not installed
    assert main(["classify", "a.png", "--weights", str(path)]) == 1
    out, err = capsys.readouterr()
    assert out == "" and "pip install 'npmnv2[weights]'" in err and err.count("\n") == 1


def test_a_broken_import_of_ours_is_not_hidden(imagenet, monkeypatch):
    monkeypatch.setitem(sys.modules, "npmnv2.engine.folding", None)
    monkeypatch.delitem(sys.modules, "npmnv2.show.classify")
    with pytest.raises(ImportError):
        main(["classify", "a.png", "--weights", str(imagenet[0])])


@pytest.mark.parametrize(
    "words",
    ["", "--weights a.npz", "0.png --weights a --preprocessing x", "a --weights"]
    + [f"a --weights b {option}" for option in ("--size 0", "--size 1.5", "--resize 3x", "--mean a", "--std 1,2")],
)
def test_usage_errors_are_status_2(words, capsys):
    assert main(["classify", *words.split()]) == 2
    assert "usage: python -m npmnv2 classify" in capsys.readouterr().err


def test_the_choices_are_all_the_presets():
    from npmnv2.cli.classify import add_to

    class Parsers:
        def add_parser(self, name, **_):
            import argparse

            self.made = argparse.ArgumentParser(name)
            return self.made

    parsers = Parsers()
    add_to(parsers)
    (action,) = (a for a in parsers.made._actions if a.dest == "preprocessing")
    assert action.choices == list(PREPROCESSING)


@raw_names
def test_a_name_that_the_terminal_cannot_show_is_no_error(folder, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("\n".join(["café \N{CAT}"] * 10), encoding="utf-8")
    words = (folder / "0.png", "--weights", folder / "digits.npz", "--labels", names, "--top", "1")
    done = run(*words, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and done.stderr == "" and "caf\\xe9 \\U0001f408" in done.stdout
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\x1b[31m.png")
    done = run(name, *words)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "\x1b" not in done.stderr + done.stdout


def test_a_pipe_that_nobody_reads_is_no_error(folder):
    reader, writer = os.pipe()
    os.close(reader)
    words = ["-m", "npmnv2", "classify", *[folder / f"{k}.png" for k in range(5)], "--weights", folder / "digits.npz"]
    done = subprocess.run([sys.executable, *words], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_neither_numba_nor_matplotlib_is_loaded(folder):
    code = f"""
import sys
from npmnv2.__main__ import main
status = main(["classify", {str(folder / "0.png")!r}, "--weights", {str(folder / "digits.npz")!r}])
print(status, [name for name in ("numba", "matplotlib", "scipy", "tqdm", "torch") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_a_large_picture_is_bytes_until_it_is_small(imagenet, tmp_path):
    """Six megapixels are 18 MB of bytes, once as decoded and once as resized in one direction; as floats, 72."""
    small = np.random.default_rng(0).integers(0, 256, (150, 200, 3)).astype(np.uint8)
    Image.fromarray(small).resize((3000, 2000)).save(tmp_path / "photo.jpg")
    model = load(imagenet[0])
    list(classify(model, [tmp_path / "photo.jpg"]))  # and everything is imported
    tracemalloc.start()
    try:
        (answer,) = classify(model, [tmp_path / "photo.jpg"])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer.error is None and peak < 2.5 * 3 * 3000 * 2000


# -- its picture


@pytest.mark.parametrize(
    "make, rows",
    [
        (lambda: npmnv2.mobilenet_v2(10, 0.1, strides="digits", in_channels=1), 5),
        pytest.param(lambda: npmnv2.mobilenet_v2(1000, 0.35), 5, marks=pytest.mark.slow),
        pytest.param(lambda: npmnv2.mobilenet_v1(12, 0.25), 5, marks=pytest.mark.slow),
        pytest.param(lambda: npmnv2.mobilenet_v1_conv(12, 0.25), 3, marks=pytest.mark.slow),
    ],
    ids=["digits", "v2", "v1", "v1_conv"],
)
def test_the_picture_shows_what_the_layers_gave(make, rows, folder, tmp_path):
    from npmnv2.show.first_layers import COLUMNS, first_layers

    model = settled(make())
    model.preprocessing = DIGITS if model.config["in_channels"] == 1 else PREPROCESSING["torchvision"]
    (answer,) = classify(model, [folder / "noise.png"])
    figure = first_layers(model, open_image(folder / "noise.png"), answer.top, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert min(picture.size) > 400
    assert figure._repr_png_()[1:4] == b"PNG"  # a notebook shows it
    above, below = figure.subfigs
    assert answer.top[0].label is None and f"class {answer.top[0].number}" in above._suptitle.get_text()
    bars = above.axes[3]
    assert [bar.get_width() for bar in bars.patches] == pytest.approx([100 * g.probability for g in answer.top])
    assert len(below.axes) == rows * (COLUMNS + 1)

    x = prepare(open_image(folder / "noise.png"), model.preprocessing)[None]
    first = next(name for name in model.children() if name != "stem")
    names = ["stem", *([f"{first}.dw"] if rows == 5 else [])]
    with npmnv2.backend("numpy"):
        seen = model.activations(x, names)
    channels = [int(axes.get_title().split()[1]) for axes in below.axes[1 : COLUMNS + 1]]
    for k, name in enumerate(names):  # rows: filters, what they give, filters, what they give, ...
        start = (2 * k + 1) * (COLUMNS + 1) + 1
        for axes, channel in zip(below.axes[start : start + COLUMNS], channels, strict=True):
            (image,) = axes.get_images()
            np.testing.assert_allclose(np.asarray(image.get_array()), seen[name][0, :, :, channel], atol=1e-5)


def test_the_places_add_up_to_the_logit(folder, imagenet):
    """The mean over the places is the logit without its bias, above that of the average class."""
    from npmnv2.engine.folding import folded
    from npmnv2.show.first_layers import _evidence

    _, model = imagenet
    x = prepare(open_image(folder / "noise.png"), PREPROCESSING["torchvision"])[None]
    with npmnv2.backend("numpy"):
        places, logits = _evidence(folded(model), x, 17), model(x)[0] - model.state_dict()["fc.b"]
    assert places.shape == (7, 7) and places.mean() == pytest.approx(logits[17] - logits.mean(), abs=1e-5)


def test_the_command_saves_a_picture_of_one_image_and_none_of_a_bad_one(folder, tmp_path, capsys):
    words = ["--weights", str(folder / "digits.npz"), "--plot"]
    assert main(["classify", str(folder / "0.png"), *words, str(tmp_path / "a.svg")]) == 0
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()[:1000]
    assert main(["classify", str(folder / "broken.png"), *words, str(tmp_path / "b.png")]) == 1
    assert not (tmp_path / "b.png").exists()
