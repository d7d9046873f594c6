"""Pictures: every kind decodes to the right pixels, damage and deceit are one line, the crop is where it should be."""

import json
import os
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image
from processes import peak_memory

from npmnv2.data import images
from npmnv2.data.images import open_image, prepare
from npmnv2.data.preprocessing import PREPROCESSING, Preprocessing

RNG = np.random.default_rng(0)
# 6 rows, 4 columns, every channel different
COLOURS = RNG.integers(0, 256, (6, 4, 3)).astype(np.uint8)
GREY = COLOURS[..., 0]
PLAIN = Preprocessing(None, None, "bilinear", (0.0,), (1.0,))


def _save(path, pixels, mode=None, **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def _exif(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


# -- what is decoded


@pytest.mark.parametrize(
    "ending, options", [("png", {}), ("bmp", {}), ("ppm", {}), ("tiff", {}), ("webp", {"lossless": True})]
)
def test_colours(tmp_path, ending, options):
    image = open_image(_save(tmp_path / f"a.{ending}", COLOURS, **options))
    assert image.dtype == np.uint8 and image.flags.writeable and image.flags.c_contiguous
    np.testing.assert_array_equal(image, COLOURS)


def test_jpeg_is_what_pillow_says_at_full_size(tmp_path):
    photo = np.kron(COLOURS, np.ones((50, 50, 1), np.uint8))
    _save(tmp_path / "a.jpg", photo, quality=90)
    np.testing.assert_array_equal(open_image(tmp_path / "a.jpg"), np.asarray(Image.open(tmp_path / "a.jpg")))


def test_the_name_says_nothing(tmp_path):
    _save(tmp_path / "a.jpg", COLOURS, format="PNG")
    np.testing.assert_array_equal(open_image(str(tmp_path / "a.jpg")), COLOURS)


def test_greyscale_and_black_and_white(tmp_path):
    np.testing.assert_array_equal(open_image(_save(tmp_path / "a.png", GREY)), np.repeat(GREY[..., None], 3, 2))
    bits = GREY > 127
    image = open_image(_save(tmp_path / "b.png", Image.fromarray(bits)))
    np.testing.assert_array_equal(image, np.repeat(np.where(bits, 255, 0)[..., None], 3, 2))


def test_a_palette_with_and_without_transparency(tmp_path):
    palette = Image.fromarray(COLOURS).quantize(24)
    expected = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(expected, COLOURS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing of Pillow's on stderr
        np.testing.assert_array_equal(open_image(_save(tmp_path / "a.png", palette)), expected)
        np.testing.assert_array_equal(open_image(_save(tmp_path / "b.png", palette, transparency=bytes(24))), expected)
        np.testing.assert_array_equal(open_image(_save(tmp_path / "c.gif", palette)), expected)


@pytest.mark.parametrize("alpha", [0, 7, 255])
def test_transparency_is_dropped(tmp_path, alpha):
    pixels = np.dstack([COLOURS, np.full((6, 4), alpha, np.uint8)])
    np.testing.assert_array_equal(open_image(_save(tmp_path / "a.png", pixels)), COLOURS)
    pixels = np.dstack([GREY, np.full((6, 4), alpha, np.uint8)])
    image = open_image(_save(tmp_path / "b.png", Image.fromarray(pixels, "LA")))
    np.testing.assert_array_equal(image, np.repeat(GREY[..., None], 3, 2))


def _png_16(path, values):
    """A PNG of 16 bits, by hand: Pillow's mode for grey has changed, and it writes no colours of so many."""
    H, W, C = values.shape if values.ndim == 3 else (*values.shape, 1)
    plain = values.reshape(H, -1).astype(">u2").view(np.uint8)
    filtered = plain.copy()
    filtered[:, 2 * C :] -= plain[:, : -2 * C]  # by bytes, less the pixel before: filter 1
    rows = b"".join(b"\1" + row.tobytes() for row in filtered)

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[C]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", W, H, 16, colour_type, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("ending", ["png", "tiff", "pgm"])
def test_16_bits_keep_the_upper_8(tmp_path, ending):
    values = RNG.integers(0, 65536, (6, 4)).astype(np.uint16)
    values[0] = 0, 255, 256, 65535
    path = tmp_path / f"a.{ending}"
    if ending == "png":
        _png_16(path, values)
    elif ending == "pgm":
        path.write_bytes(b"P5 4 6 65535 " + values.astype(">u2").tobytes())
    else:
        _save(path, values)
    np.testing.assert_array_equal(open_image(path), np.repeat((values >> 8).astype(np.uint8)[..., None], 3, 2))


@pytest.mark.parametrize("channels", [2, 3, 4])  # grey with transparency, colours, colours with transparency
@pytest.mark.parametrize("most, used", [(255, 8), (4095, 12), (4096, 16), (65535, 16)])
def test_colours_keep_the_bits_that_are_used(tmp_path, most, used, channels):
    values = RNG.integers(0, most, (6, 4, channels)).astype(np.uint16)
    values[0, 0, 0] = most
    if channels != 3:
        values[..., -1] = 65535  # transparency, which is dropped
    path = _png_16(tmp_path / "a.png", values)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = open_image(path)
    kept = (values >> (used - 8)).astype(np.uint8)
    np.testing.assert_array_equal(image, np.repeat(kept[..., :1], 3, 2) if channels == 2 else kept[..., :3])
    note = f"{path}: has 16 bits, of which its largest value, {most}, needs {used}: taken as {used} bits"
    assert [str(warning.message) for warning in caught] == ([note] if used < 16 else [])


@pytest.mark.parametrize("order", "<>")
def test_colours_of_12_bits_in_a_tiff(tmp_path, order):
    values = RNG.integers(0, 4096, (6, 4, 3)).astype(f"{order}u2")
    values[0, 0] = 4095
    path, at = tmp_path / "a.tiff", 8 + values.nbytes + 6
    tags = {256: 4, 257: 6, 258: 8 + values.nbytes, 259: 1, 262: 2, 273: 8, 277: 3, 278: 6, 279: values.nbytes}
    entries = [struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags.items()]
    entries[2] = struct.pack(order + "HHII", 258, 3, 3, tags[258])  # bits of each colour, which lie before this list
    start = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, at)
    bits, count = struct.pack(order + "3H", 16, 16, 16), struct.pack(order + "H", len(tags))
    path.write_bytes(start + values.tobytes() + bits + count + b"".join(entries) + bytes(4))
    with pytest.warns(UserWarning, match="its largest value, 4095, needs 12: taken as 12 bits"):
        image = open_image(path)
    np.testing.assert_array_equal(image, values >> 4)


def test_cmyk(tmp_path):
    inks = RNG.integers(0, 256, (6, 4, 4)).astype(np.uint8)
    expected = Image.fromarray(inks, "CMYK").convert("RGB")
    np.testing.assert_array_equal(open_image(_save(tmp_path / "a.tiff", Image.fromarray(inks, "CMYK"))), expected)


def test_floats_are_refused(tmp_path):
    _save(tmp_path / "a.tiff", GREY.astype(np.float32))
    with pytest.raises(ValueError, match=r"a.tiff: .*floats, which say nothing about what is white"):
        open_image(tmp_path / "a.tiff")


# What a camera that was held otherwise stores, by EXIF orientation: see the TIFF 6.0 standard, tag Orientation.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[:, ::-1],
}


@pytest.mark.parametrize("ending", ["png", "tiff"])
@pytest.mark.parametrize("orientation", [*STORED, 0, 9, 65535])
def test_exif_orientation(tmp_path, orientation, ending):
    stored = np.ascontiguousarray(STORED.get(orientation, STORED[1])(COLOURS))
    path = _save(tmp_path / f"a.{ending}", stored, exif=_exif(orientation))
    np.testing.assert_array_equal(open_image(path), COLOURS)


def test_exif_orientation_of_a_jpeg(tmp_path):
    _save(tmp_path / "a.jpg", np.kron(COLOURS, np.ones((16, 16, 1), np.uint8)), exif=_exif(6))
    stored = np.asarray(Image.open(tmp_path / "a.jpg"))
    np.testing.assert_array_equal(open_image(tmp_path / "a.jpg"), np.rot90(stored, -1))


@pytest.mark.parametrize(
    "content", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"]
)
def test_damaged_exif_does_no_harm(tmp_path, content):
    path = _save(tmp_path / "a.jpg", np.kron(COLOURS, np.ones((16, 16, 1), np.uint8)), exif=content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_image(path).shape == (96, 64, 3)


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tiff"])
def test_an_animation_gives_its_first_frame(tmp_path, ending):
    frames = [Image.fromarray(np.full((6, 4, 3), value, np.uint8)) for value in (200, 100, 0)]
    options = {"lossless": True} if ending == "webp" else {}
    frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(open_image(tmp_path / f"a.{ending}"), np.full((6, 4, 3), 200))


def test_two_jpegs_in_one_file(tmp_path):
    """As some telephones store them (MPO)."""
    pictures = [Image.fromarray(np.full((16, 16, 3), value, np.uint8)) for value in (200, 100)]
    pictures[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=pictures[1:])
    assert np.abs(open_image(tmp_path / "a.jpg").astype(int) - 200).max() <= 2


# -- what is refused


def _refused(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError) as caught:
            open_image(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ") and "\n" not in line and len(line) < len(str(path)) + 200
    return line.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"no picture at all",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    ],
)
def test_what_is_no_picture(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    assert "no picture" in _refused(tmp_path / "a.png") or "damaged" in _refused(tmp_path / "a.png")


def test_only_formats_that_pillow_decodes_itself():
    """EPS would be handed to Ghostscript."""
    assert not {"EPS", "WMF", "HDF5", "FPX", "MIC"} & set(images.FORMATS)


@pytest.mark.parametrize("ending", ["jpg", "png", "gif", "bmp", "ppm", "tiff", "webp"])
def test_a_file_cut_short(tmp_path, ending):
    noise = RNG.integers(0, 256, (60, 40, 3)).astype(np.uint8)
    whole = _save(tmp_path / f"a.{ending}", noise).read_bytes()
    for length in (20, len(whole) // 2, len(whole) * 3 // 4):
        (tmp_path / "cut").write_bytes(whole[:length])
        assert "damaged" in (line := _refused(tmp_path / "cut")) or "no picture" in line


def test_garbled_files_are_decoded_or_refused(tmp_path):
    rng, path = np.random.default_rng(1), tmp_path / "a"
    wholes = []
    for ending in ("jpg", "png", "gif", "bmp", "ppm", "tiff", "webp"):
        wholes.append(_save(tmp_path / f"a.{ending}", np.kron(COLOURS, np.ones((4, 4, 1), np.uint8))).read_bytes())
    for k in range(500):
        content = bytearray(wholes[k % len(wholes)])
        for position in rng.integers(0, len(content), 1 + k % 5):
            content[position] = rng.integers(256)
        path.write_bytes(content)
        try:
            image = open_image(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")
        else:
            assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3


def test_missing_or_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a[.]png"):
        open_image(tmp_path / "a.png")
    with pytest.raises(IsADirectoryError):
        open_image(tmp_path)


def _claiming(path, width, height, ending):
    """A small file whose header speaks of a large picture."""
    _save(path, COLOURS, format=ending)
    content = bytearray(path.read_bytes())
    if ending == "PNG":
        content[16:24] = struct.pack(">II", width, height)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    elif ending == "BMP":
        content[18:26] = struct.pack("<ii", width, height)
    elif ending == "GIF":
        content[6:10] = struct.pack("<HH", width, height)
    elif ending == "PPM":
        content = bytearray(b"P6 %d %d 255 " % (width, height))
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("ending", ["PNG", "BMP", "PPM", "GIF"])
@pytest.mark.parametrize("width, height", [(10_001, 10_000), (13_000, 13_000), (65_535, 65_535)])
def test_a_bomb_is_known_by_its_header(tmp_path, ending, width, height):
    path = _claiming(tmp_path / "a", width, height, ending)
    assert "has more than 100 million pixels" in _refused(path)


def test_a_bomb_of_zeros_costs_no_memory(tmp_path):
    """100 MB of zeros in 100 kB: in a process that could not hold them."""
    path = _claiming(tmp_path / "a.png", 20_000, 20_000, "PNG")
    before = peak_memory()
    _refused(path)
    assert peak_memory() - before < 50e6


def test_the_cap_itself_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 24)
    path = _save(tmp_path / "a.png", COLOURS)
    assert open_image(path).shape == (6, 4, 3)
    monkeypatch.setattr(images, "MAX_PIXELS", 23)
    assert "(4 x 6); make it smaller first" in _refused(path)


def test_text_that_unpacks_to_much_is_refused_or_left_packed(tmp_path):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("comment", "x" * 50_000_000, zip=True)
    path = tmp_path / "a.png"
    Image.fromarray(COLOURS).save(path, pnginfo=info)
    try:
        np.testing.assert_array_equal(open_image(path), COLOURS)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")


def test_without_avif_it_is_no_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "FORMATS", ("PNG", "NOT A FORMAT"))
    (tmp_path / "a").write_bytes(b"something")
    assert "is no picture" in _refused(tmp_path / "a")


# -- what is made of it


def test_the_presets_make_what_the_network_takes():
    photo = RNG.integers(0, 256, (300, 401, 3)).astype(np.uint8)
    for name, preset in PREPROCESSING.items():
        out = prepare(photo, preset)
        assert out.shape == (224, 224, 3) and out.dtype == np.float32 and out.flags.c_contiguous, name
        assert abs(out.mean()) < 0.6 and np.isfinite(out).all()


def test_normalisation_by_hand():
    p = PLAIN._replace(mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    out = prepare(np.array([[[0, 51, 255]]], np.uint8), p)
    np.testing.assert_allclose(out, [[[-1, -0.2, 0.5]]], rtol=1e-6)


@pytest.mark.parametrize(
    "H, W, resize, expected",
    [
        (300, 400, 256, (256, 341)),
        (400, 300, 256, (341, 256)),
        (300, 300, 7, (7, 7)),
        (3, 1000, 2, (2, 666)),
        (300, 400, (50, 60), (50, 60)),
        (1, 1, 5, (5, 5)),
        (224, 225, None, (224, 225)),
        (10, 11, 11, (11, 12)),
    ],
)
def test_sizes(H, W, resize, expected):
    out = prepare(np.zeros((H, W, 3), np.uint8), PLAIN._replace(resize=resize))
    assert out.shape == (*expected, 3)


@pytest.mark.parametrize("H, W, side", [(9, 6, 4), (7, 10, 4), (4, 4, 4), (5, 8, 5), (11, 9, 4)])
def test_the_crop_is_the_centre(H, W, side):
    pixels = np.arange(H * W, dtype=np.uint8).reshape(H, W, 1)
    for rounds in ("even", "down"):
        p = Preprocessing(None, side, "nearest", (0.0,), (1 / 255,), 1, rounds)
        out = prepare(pixels, p)[..., 0]
        top, left = divmod(round(float(out[0, 0])), W)
        for first, length in ((top, H), (left, W)):
            margin = (length - side) / 2
            assert first == (round(margin) if rounds == "even" else int(margin))
        np.testing.assert_allclose(out, pixels[top : top + side, left : left + side, 0], rtol=1e-5)


@pytest.mark.parametrize("H, W, side", [(1, 1, 4), (3, 9, 6), (9, 3, 6), (5, 6, 6), (2, 7, 7)])
def test_a_picture_smaller_than_the_crop_gets_a_black_border(H, W, side):
    pixels = np.full((H, W, 1), 255, np.uint8)
    out = prepare(pixels, Preprocessing(None, side, "nearest", (0.0,), (1.0,), 1))[..., 0]
    assert out.shape == (side, side) and out.sum() == min(H, side) * min(W, side)
    rows = np.flatnonzero(out.any(axis=1))
    assert rows[0] == max(side - H, 0) // 2  # the odd one below


def test_grey_and_colour_into_each_other():
    grey = GREY[..., None]
    np.testing.assert_array_equal(prepare(grey, PLAIN), prepare(np.repeat(grey, 3, 2), PLAIN))
    one = PLAIN._replace(channels=1)
    np.testing.assert_array_equal(prepare(np.repeat(grey, 3, 2), one), prepare(grey, one))
    luma = prepare(COLOURS, one)[..., 0] * 255
    np.testing.assert_allclose(luma, COLOURS @ np.array([0.299, 0.587, 0.114]), atol=0.51)


def test_resizing_looks_at_every_pixel():
    """Stripes one pixel wide become grey. Without antialiasing they become other stripes."""
    stripes = np.zeros((64, 64, 1), np.uint8)
    stripes[:, ::2] = 255
    for interpolation in ("bilinear", "bicubic"):
        p = Preprocessing(9, None, interpolation, (0.0,), (1.0,), 1)
        assert np.abs(prepare(stripes, p)[:, 1:-1] - 0.5).max() < 0.1
    assert set(np.unique(prepare(stripes, p._replace(interpolation="nearest")))) <= {0.0, 1.0}


def test_any_strides_and_nothing_is_changed():
    before = COLOURS.copy()
    p = PLAIN._replace(resize=5, crop=4)
    for view in (COLOURS[::-1, ::2], COLOURS.transpose(1, 0, 2), np.asfortranarray(COLOURS)):
        np.testing.assert_array_equal(prepare(view, p), prepare(np.ascontiguousarray(view), p))
    np.testing.assert_array_equal(COLOURS, before)


@pytest.mark.parametrize(
    "image, error, text",
    [
        (np.zeros((2, 2, 3), np.float32), TypeError, "image must be uint8; was float32"),
        ([[0]], TypeError, "image must be a NumPy array; was list"),
        (np.zeros((2, 2), np.uint8), ValueError, r"image must have shape \(H, W, 3\) or \(H, W, 1\); was \(2, 2\)"),
        (np.zeros((2, 2, 4), np.uint8), ValueError, "image must have shape"),
        (np.zeros((2, 0, 3), np.uint8), ValueError, "image must have shape"),
        (np.zeros((1, 2, 2, 3), np.uint8), ValueError, "image must have shape"),
        (np.zeros((1, 20000, 3), np.uint8), ValueError, "image must not be so narrow: 20000 x 1 pixels"),
    ],
)
def test_other_images_are_refused(image, error, text):
    with pytest.raises(error, match=text):
        prepare(image, PREPROCESSING["torchvision"])


@pytest.mark.parametrize(
    "name, value, text",
    [
        ("resize", 0, "resize must lie between 1 and 10000; was 0"),
        ("resize", 10_001, "resize must lie between"),
        ("resize", 2.5, "resize must be an integer"),
        ("resize", True, "resize must be an integer"),
        ("resize", (3, 4, 5), "resize must be one side, or height and width"),
        ("resize", (3, "4"), "resize must be an integer"),
        ("crop", -1, "crop must lie between"),
        ("crop", "224", "crop must"),
        ("interpolation", "lanczos", "interpolation must be one of nearest, bilinear, bicubic; was 'lanczos'"),
        ("interpolation", ["nearest"], "interpolation must be one of"),
        ("crop_rounds", "up", "crop_rounds must be one of even, down"),
        ("channels", 2, "channels must be 1 or 3; was 2"),
        ("channels", None, "channels must be an integer"),
        ("mean", (0.5, 0.5), "mean must be a tuple of one number or three"),
        ("mean", (float("nan"),), "mean must"),
        ("mean", 0.5, "mean must be a tuple"),
        ("mean", ("a",), "mean must be a number"),
        ("std", (0.0,), "std must be more than 0"),
        ("std", (1.0, -1.0, 1.0), "std must"),
        ("std", (float("inf"),), "std must be finite"),
        ("std", (), "std must be a tuple"),
    ],
)
def test_a_preprocessing_that_makes_no_sense(name, value, text):
    bad = PLAIN._replace(**{name: value})
    for use in (bad.checked, lambda: Preprocessing.from_dict(bad.to_dict()), lambda: prepare(COLOURS, bad)):
        with pytest.raises((ValueError, TypeError), match=text):
            use()


def test_as_json_and_back():
    for preset in [*PREPROCESSING.values(), PLAIN, PLAIN._replace(channels=1)]:
        assert Preprocessing.from_dict(json.loads(json.dumps(preset.to_dict()))) == preset
    values = PLAIN.to_dict()
    del values["crop_rounds"], values["channels"]  # have a default
    assert Preprocessing.from_dict(values) == PLAIN
    for wrong, text in (
        ({**values, "scale": 1}, "'scale' is unknown"),
        ({"mean": [0.5]}, "resize is missing"),
        ({}, "is missing"),
    ):
        with pytest.raises(ValueError, match=text):
            Preprocessing.from_dict(wrong)
    with pytest.raises(TypeError, match="preprocessing must be a dictionary; was list"):
        Preprocessing.from_dict([1])


def test_pillow_loads_when_first_needed():
    code = "import sys, npmnv2.data.images; print('PIL' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "False\n"
