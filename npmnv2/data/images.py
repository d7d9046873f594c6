"""Pictures from files, decoded by Pillow, and made into the input of a network as each framework does it."""

import os
import re
import sys
import warnings
from typing import Any, BinaryIO

import numpy as np

from npmnv2.data.augment import normalise
from npmnv2.data.preprocessing import Preprocessing
from npmnv2.validate import Array, check_plain

MAX_PIXELS = 100_000_000  # 300 MB as RGB; a file of a few bytes can claim as many as it likes
# What cameras and the web use. Pillow knows more, among them formats that it hands to other programs (EPS).
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "TIFF", "WEBP", "AVIF")

# What the files of each begin with; "." is any byte. HEIC is known to be told, not read.
_BEGINNINGS = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM.{12}[\x0c-\x7c]\0\0\0",
    "PPM": rb"P[1-6][\s#]",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "WEBP": rb"RIFF....WEBP",
    "AVIF": rb"....ftypavi[fs]",
    "HEIC": rb"....ftyp(?:hei[cxms]|hev[cx]|mif1|msf1)",
}
HEIC = "is HEIC, which is not read: convert it to JPEG"
_KINDS = re.compile(b"|".join(b"(?P<%s>%s)" % (kind.encode(), start) for kind, start in _BEGINNINGS.items()), re.DOTALL)


def kind_of(path: str | os.PathLike[str]) -> str | None:
    """What kind of picture a file is, by its first bytes: one of `FORMATS`, HEIC, or None for anything else.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".txt") as file:
    ...     _ = file.write(b"\\xff\\xd8\\xff\\xe0"), file.flush()
    ...     kind_of(file.name)
    'JPEG'
    """
    with open(path, "rb") as file:
        match = _KINDS.match(file.read(32))
    return match.lastgroup if match else None


def open_image(path: str | os.PathLike[str]) -> Array:
    """Decode a picture into red, green and blue, upright.

    A picture lies as its EXIF orientation says. Greyscale, palette and CMYK become RGB as Pillow's ``convert("RGB")``
    does it, which torchvision, Keras and Hugging Face call too: transparency is dropped (a transparent pixel shows
    the colour that it hides) and colour profiles are ignored. Of 16 or 32 bits the upper 8 are kept; if the file does
    not use them all, as a camera of 12 bits does, those of the 8, 12 or 16 bits that it uses, with a warning. Of an
    animation it is the first frame. The file is decoded at its full size: JPEG's own reduced decoding would be faster,
    but gives other pixels than the frameworks see.

    Parameters
    ----------
    path : str or path-like
        JPEG, PNG, GIF, BMP, PPM, TIFF or WebP, AVIF where Pillow has it; found by content, not by name.

    Returns
    -------
    ndarray of shape (H, W, 3), uint8

    Raises
    ------
    ValueError
        If it is no picture, is damaged or cut short, or has more than `MAX_PIXELS` pixels, which is known before
        anything is decoded. One line that begins with the path.
    OSError
        If there is no such file or it may not be read.

    Warns
    -----
    UserWarning
        If fewer bits are used than the file has.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".ppm") as file:
    ...     _ = file.write(b"P6 2 1 255 " + bytes([255, 0, 0, 9, 8, 7])), file.flush()
    ...     open_image(file.name).tolist()
    [[[255, 0, 0], [9, 8, 7]]]
    """
    from PIL import Image, UnidentifiedImageError

    name = os.fspath(path)
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise ValueError(f"{name}: is no file, but a pipe or a device")  # to open a pipe is to wait for its writer
    with open(path, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow: what it can still read is no matter, what not is an error below
        try:
            image, note = _decode(file)
        except _TooLarge as reason:
            raise ValueError(f"{name}: {reason}") from None
        except Image.DecompressionBombError:  # where Pillow looks before we can
            raise ValueError(f"{name}: {_TooLarge()}") from None
        except (UnidentifiedImageError, KeyError):  # KeyError: an older Pillow does not know the last of FORMATS
            none = "is no picture of a kind that is read (JPEG, PNG, GIF, WebP, TIFF, ...)"
            raise ValueError(f"{name}: {HEIC if kind_of(path) == 'HEIC' else none}") from None
        except Exception as reason:  # whatever decoding garbage can raise
            said = " ".join(str(reason).split()) or type(reason).__name__
            raise ValueError(f"{name}: is damaged, or of a kind that is not read ({said})") from None
    if note:
        warnings.warn(f"{name}: {note}", stacklevel=2)
    return image


class _TooLarge(Exception):
    def __str__(self) -> str:
        size = f" ({self.args[0]} x {self.args[1]})" if self.args else ""
        return f"has more than {MAX_PIXELS // 10**6} million pixels{size}; make it smaller first"


def _decode(file: BinaryIO) -> tuple[Array, str]:
    """The picture, and what should be said about it."""
    from PIL import Image

    with Image.open(file, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise _TooLarge(image.width, image.height)
        stored = _stored(image.tile[0]) if image.tile else ""
        image.load()
        note = ""
        upright = _upright(image)
        if image.mode.startswith("I"):
            grey, note = _whole_numbers(np.asarray(upright), stored)
            upright = Image.fromarray(grey)
        pixels = np.array(_rgb(upright))  # (H, W, 3)
    if stored in _LOWER and pixels.max() < 16:  # values of 12 bits or less
        return _whole_numbers(pixels.astype(np.uint16) << 8 | _lower(file, stored), stored)
    return pixels, note


def _stored(tile: Any) -> str:
    """How a pixel lies in the file, in Pillow's words: "RGB;16B" is 16 bits a colour, the upper ones first."""
    return str(tile[3][0] if isinstance(tile[3], tuple) else tile[3])


# Of colours of 16 bits Pillow keeps the upper 8. Told that the other byte comes first, it keeps the lower 8; those of
# grey with transparency are the second of four bytes.
_SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_LOWER = {f"{mode};16{order}": f"{mode};16{other}" for mode in ("RGB", "RGBA") for order, other in _SWAPPED.items()}
_LOWER["LA;16B"] = "RGBA"


def _lower(file: BinaryIO, stored: str) -> Array:
    """The lower 8 bits of a picture's colours of 16."""
    from PIL import Image

    file.seek(0)
    with Image.open(file, formats=FORMATS) as image:
        tiles: list[Any] = image.tile
        for k, tile in enumerate(tiles):
            told = (_LOWER[stored], *tile[3][1:]) if isinstance(tile[3], tuple) else _LOWER[stored]
            tiles[k] = tile._replace(args=told) if hasattr(tile, "_replace") else (*tile[:3], told)  # older Pillow
        image.load()
        lower = np.array(_rgb(_upright(image)))  # (H, W, 3)
    return lower if stored != "LA;16B" else lower[..., 1:2]


def _upright(image: Any) -> Any:
    from PIL import ImageOps

    if image.format == "TIFF":  # Pillow turned it as it was decoded, and older versions leave the mark that it must be
        return image
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF; the picture itself is decoded by now
        return image


def _whole_numbers(values: Array, stored: str) -> tuple[Array, str]:
    """Integers of 16 or 32 bits as 8 of them, where Pillow would cut off at 255; a note if not all bits are used."""
    bits = 32 if ";32" in stored else 16
    if bits == 32 and not stored.endswith("S"):
        values = values.astype(np.int32).view(np.uint32)  # Pillow has no type for them
    if values.min() < 0:
        raise ValueError(f"its pixels go down to {values.min()}, which says nothing about what is black")
    most = int(values.max())
    used = next(some for some in (8, 12, 16, 32) if most < 2**some)
    note = f"has {bits} bits, of which its largest value, {most}, needs {used}: taken as {used} bits"
    return (values >> (used - 8)).astype(np.uint8), note if used < bits and most else ""


def _rgb(image: Any) -> Any:
    if image.mode == "F":
        raise ValueError("its pixels are floats, which say nothing about what is white")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # the same colours
    return image.convert("RGB")


def prepare(image: Array, preprocessing: Preprocessing) -> Array:
    """Resize, cut out the centre and normalise a picture as the framework that trained the network does.

    `fit`, then `augment.normalise`. Bit for bit what torchvision makes of a PIL image; the other frameworks' own order
    of multiplications differs in the last bit.

    Parameters
    ----------
    image : ndarray of shape (H, W, 3) or (H, W, 1), uint8
        As `open_image` gives it.
    preprocessing : Preprocessing

    Returns
    -------
    ndarray of shape (h, w, channels), float32
        ``(pixel / 255 - mean) / std``

    Raises
    ------
    ValueError, TypeError
        As `fit` does.

    Examples
    --------
    >>> grey = Preprocessing(resize=None, crop=2, interpolation="bilinear", mean=(0.5,), std=(0.5,), channels=1)
    >>> image = np.array([[[0], [255], [0], [255]]], np.uint8)                  # 1 x 4 pixels
    >>> prepare(image, grey)[..., 0].tolist()                                   # the middle two, black below
    [[1.0, -1.0], [-1.0, -1.0]]
    """
    return normalise(fit(image, preprocessing)[None], preprocessing)[0]


def fit(image: Array, preprocessing: Preprocessing) -> Array:
    """Resize and cut out the centre: what `prepare` does, short of making floats.

    Resizing is Pillow's, which looks at every pixel it leaves out (antialiasing), except for "nearest". The shorter
    side becomes `resize`, the longer one ``int(resize * long / short)``. A picture smaller than the crop gets a black
    border.

    Parameters
    ----------
    image : ndarray of shape (H, W, 3) or (H, W, 1), uint8
    preprocessing : Preprocessing
        Grey becomes colour, or colour grey, as its `channels` say.

    Returns
    -------
    ndarray of shape (h, w, channels), uint8

    Raises
    ------
    ValueError, TypeError
        If `image` is something else or so narrow that resized it would have more than `MAX_PIXELS`, or
        `preprocessing` makes no sense.

    Examples
    --------
    >>> fit(np.zeros((300, 400, 3), np.uint8), Preprocessing(256, None, "bilinear", (0.5,), (0.5,))).shape
    (256, 341, 3)
    """
    from PIL import Image

    p = preprocessing.checked()
    image = check_plain(image, "image")
    if image.dtype != np.uint8:
        raise TypeError(f"image must be uint8; was {image.dtype}")
    if image.ndim != 3 or image.shape[2] not in (1, 3) or image.size == 0:
        raise ValueError(f"image must have shape (H, W, 3) or (H, W, 1); was {image.shape}")
    if p.crop_first is not None:
        image = _cut_out(image, max(1, int(p.crop_first * min(image.shape[:2]))), p.crop_rounds)
    picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))
    picture = picture.convert("L" if p.channels == 1 else "RGB")
    if p.resize is not None:
        picture = picture.resize(_resized(picture.size, p.resize), Image.Resampling[p.interpolation.upper()])
    pixels = np.asarray(picture).reshape(picture.height, picture.width, p.channels)
    return pixels if p.crop is None else _cut_out(pixels, p.crop, p.crop_rounds)


def _resized(size: tuple[int, int], resize: int | tuple[int, int]) -> tuple[int, int]:
    """The new (width, height), in Pillow's order."""
    if isinstance(resize, tuple):
        return resize[1], resize[0]
    short, long = min(size), max(size)
    new_long = int(resize * long / short)
    if resize * new_long > MAX_PIXELS:
        raise ValueError(
            f"image must not be so narrow: {size[0]} x {size[1]} pixels with the shorter side resized to {resize} "
            f"would be {new_long} long"
        )
    return (resize, new_long) if size[0] <= size[1] else (new_long, resize)


def _cut_out(pixels: Array, side: int, rounds: str) -> Array:
    """A square out of the centre; what lies outside of the picture is black."""
    short = [max(side - length, 0) for length in pixels.shape[:2]]
    if any(short):
        pixels = np.pad(pixels, [(s // 2, s - s // 2) for s in short] + [(0, 0)])  # the odd one goes after
    H, W = pixels.shape[:2]
    if rounds == "even":  # Python's round
        top, left = round((H - side) / 2), round((W - side) / 2)
    else:
        top, left = (H - side) // 2, (W - side) // 2
    return pixels[top : top + side, left : left + side]
