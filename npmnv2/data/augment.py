"""Pictures varied as they are trained on, and pixels made into what a network takes.

The variations work on whole batches, on uint8 pixels and on floats alike. Pixels become floats as late as possible, a
batch at a time, in `normalise`: a data set takes four times the memory as floats.
"""

from typing import Any

import numpy as np

from npmnv2.data.preprocessing import Preprocessing
from npmnv2.validate import Array, check_array, check_dtype, check_generator, check_int, check_number, check_plain


def normalise(x: Array, preprocessing: Preprocessing | None, dtype: Any = np.float32) -> Array:
    """Make uint8 pixels into the floats that a network takes: ``(x / 255 - mean) / std``.

    The one place where a `Dataset`'s images become floats, called for each batch. `images.prepare` does the same for a
    single picture.

    Parameters
    ----------
    x : ndarray of shape (N, H, W, C)
        uint8; floats are normalised already, and returned as they are.
    preprocessing : Preprocessing or None
        The `Dataset`'s; None is enough for floats.
    dtype : float32 or float64

    Returns
    -------
    ndarray, the shape of x

    Raises
    ------
    TypeError, ValueError
        If `x` is neither uint8 nor floats, or nobody says what its mean and deviation are.

    Examples
    --------
    >>> pixels = np.array([0, 51, 255], np.uint8).reshape(1, 1, 3, 1)
    >>> half = Preprocessing(None, None, "bilinear", mean=(0.5,), std=(0.5,), channels=1)
    >>> normalise(pixels, half, np.float64).ravel().round(3).tolist()
    [-1.0, -0.6, 1.0]
    """
    dtype = check_dtype(dtype)
    x = _check_images(x)
    if x.dtype != np.uint8:
        return x
    if preprocessing is None:
        raise ValueError("preprocessing must say the mean and deviation of uint8 pixels; was None")
    out = x.astype(dtype)  # (N, H, W, C)
    out /= 255
    out -= np.array(preprocessing.mean, dtype)
    out /= np.array(preprocessing.std, dtype)
    return out


def random_crop(x: Array, rng: np.random.Generator, padding: int = 4) -> Array:
    """Put a border of zeros around every image, then cut its size out of that at random.

    Parameters
    ----------
    x : ndarray of shape (N, H, W, C)
        On uint8 the border is black; on floats it is their zero, the mean.
    rng : numpy.random.Generator
    padding : int
        Pixels on every side: so far an image moves at most.

    Returns
    -------
    ndarray, the shape and dtype of x

    Examples
    --------
    >>> x = np.arange(1.0, 10).reshape(1, 3, 3, 1)
    >>> random_crop(x, np.random.default_rng(0), padding=1)[0, :, :, 0].tolist()          # one up, not sideways
    [[4.0, 5.0, 6.0], [7.0, 8.0, 9.0], [0.0, 0.0, 0.0]]
    """
    N = len(_check_images(x))
    padding = check_int(padding, "padding", 0)
    down, right = check_generator(rng).integers(-padding, padding + 1, size=(2, N))  # (N,) each
    return _moved(x, padding, down, right, "constant")


def random_flip(x: Array, rng: np.random.Generator, share: float = 0.5) -> Array:
    """Swap left and right in some of the images.

    Parameters
    ----------
    x : ndarray of shape (N, H, W, C)
    rng : numpy.random.Generator
    share : float
        The probability that an image is flipped.

    Returns
    -------
    ndarray, the shape and dtype of x

    Examples
    --------
    >>> x = np.array([1.0, 2, 3]).reshape(1, 1, 3, 1)
    >>> random_flip(x, np.random.default_rng(0), share=1)[0, 0, :, 0].tolist()
    [3.0, 2.0, 1.0]
    """
    N = len(_check_images(x))
    flipped = check_generator(rng).random(N) < check_number(share, "share", 0, 1)  # (N,)
    out = x.copy()  # (N, H, W, C)
    out[flipped] = x[flipped, :, ::-1]
    return out


def random_shift(x: Array, rng: np.random.Generator, most: int = 1, share: float = 0.5) -> Array:
    """Move some of the images by up to `most` pixels in each direction; what comes in repeats the border.

    Parameters
    ----------
    x : ndarray of shape (N, H, W, C)
    rng : numpy.random.Generator
    most : int
    share : float
        The probability that an image is moved. Digits fill their 8x8 pixels, where one pixel is far: with all of them
        moved a small network learns slowly.

    Returns
    -------
    ndarray, the shape and dtype of x

    Examples
    --------
    >>> x = np.arange(9.0).reshape(1, 3, 3, 1)
    >>> random_shift(x, np.random.default_rng(1), share=1.0)[0, :, :, 0].tolist()      # one up, one left
    [[4.0, 5.0, 5.0], [7.0, 8.0, 8.0], [7.0, 8.0, 8.0]]
    """
    N = len(_check_images(x))
    most, share = check_int(most, "most", 0), check_number(share, "share", 0, 1)
    moved = check_generator(rng).random(N) < share  # (N,)
    down, right = np.where(moved, rng.integers(-most, most + 1, size=(2, N)), 0)  # (N,) each
    return _moved(x, most, down, right, "edge")


def _moved(x: Array, most: int, down: Array, right: Array, border: Any) -> Array:
    """Look at each image through a window of its own size, moved by so many pixels; outside lies the border."""
    N, H, W, C = x.shape
    padded = np.pad(x, ((0, 0), (most, most), (most, most), (0, 0)), mode=border)
    out = np.empty(x.shape, x.dtype)  # (N, H, W, C)
    for n in range(N):
        top, left = most + down[n], most + right[n]
        out[n] = padded[n, top : top + H, left : left + W]
    return out


def _check_images(x: Array) -> Array:
    if check_plain(x, "x").dtype != np.uint8:
        return check_array(x, "x", "N H W C")
    if x.ndim != 4 or 0 in x.shape[1:]:
        raise ValueError(f"x must have shape (N, H, W, C), none but N being 0; was {x.shape}")
    return x
