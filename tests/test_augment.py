"""Variations of pictures: each output is a window of its input, all windows occur, the seed decides; then floats."""

import numpy as np
import pytest

from npmnv2.data import Preprocessing, normalise, random_crop, random_flip, random_shift

RNG = np.random.default_rng


def _images(N=200, H=5, W=7, C=2, dtype=np.float32):
    """No two values are equal in an image, and none is 0."""
    values = np.arange(1, H * W * C + 1).reshape(1, H, W, C)
    return np.repeat(values, N, 0).astype(dtype) + np.arange(N).reshape(N, 1, 1, 1).astype(dtype)


DTYPES = [np.uint8, np.float32, np.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("padding", [0, 1, 3])
def test_a_random_crop_is_a_window_of_the_padded_image(dtype, padding):
    x = _images(dtype=dtype)
    out = random_crop(x, RNG(0), padding)
    assert out.shape == x.shape and out.dtype == x.dtype and out.flags.c_contiguous
    seen = set()
    for image, moved in zip(x, out, strict=True):
        padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
        places = [
            (top, left)
            for top in range(2 * padding + 1)
            for left in range(2 * padding + 1)
            if (padded[top : top + 5, left : left + 7] == moved).all()
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) > 0.9 * (2 * padding + 1) ** 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_random_flip_swaps_left_and_right_of_half_of_the_images(dtype):
    x = _images(1000, dtype=dtype)
    out = random_flip(x, RNG(0))
    flipped = (out == x[:, :, ::-1]).all(axis=(1, 2, 3))
    kept = (out == x).all(axis=(1, 2, 3))
    assert (flipped ^ kept).all() and 430 < flipped.sum() < 570
    assert out.dtype == x.dtype and out.flags.c_contiguous
    np.testing.assert_array_equal(random_flip(x, RNG(0), share=0), x)
    np.testing.assert_array_equal(random_flip(x, RNG(0), share=1), x[:, :, ::-1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_random_shift_repeats_the_border(dtype):
    x = _images(dtype=dtype)
    out = random_shift(x, RNG(0), most=2, share=1.0)
    for image, moved in zip(x, out, strict=True):
        rows = [np.clip(np.arange(5) + down, 0, 4) for down in range(-2, 3)]
        columns = [np.clip(np.arange(7) + right, 0, 6) for right in range(-2, 3)]
        assert any((image[r][:, c] == moved).all() for r in rows for c in columns)
    half = (random_shift(_images(1000, dtype=dtype), RNG(0)) == _images(1000, dtype=dtype)).all(axis=(1, 2, 3)).mean()
    assert 0.45 < half < 0.65  # of those that may move, a ninth does not


@pytest.mark.parametrize("change", [random_crop, random_flip, random_shift])
def test_the_seed_decides_and_the_input_stays(change):
    x = _images()
    before = x.copy()
    np.testing.assert_array_equal(change(x, RNG(3)), change(x, RNG(3)))
    assert (change(x, RNG(3)) != change(x, RNG(4))).any()
    np.testing.assert_array_equal(x, before)
    assert change(x[:0], RNG(0)).shape == (0, 5, 7, 2)
    np.testing.assert_array_equal(change(x[::2], RNG(3)), change(x[::2].copy(), RNG(3)))


@pytest.mark.parametrize("change", [random_crop, random_flip, random_shift])
def test_other_arguments(change):
    x = _images()
    for bad, error in ((x[0], ValueError), (x[:, :0], ValueError), (x.astype(np.int64), TypeError), ([1], TypeError)):
        with pytest.raises(error, match=r"^x must "):
            change(bad, RNG(0))
    with pytest.raises(ValueError, match=r"^x must "):
        change(np.zeros((2, 3, 0, 1), np.uint8), RNG(0))
    with pytest.raises(TypeError, match=r"^rng must be a numpy[.]random[.]Generator; was int"):
        change(x, 0)


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda x: random_crop(x, RNG(0), -1), ValueError, "padding must be at least 0"),
        (lambda x: random_crop(x, RNG(0), 1.5), TypeError, "padding must be an integer"),
        (lambda x: random_flip(x, RNG(0), 1.5), ValueError, "share must lie between 0 and 1"),
        (lambda x: random_shift(x, RNG(0), -1), ValueError, "most must be at least 0"),
        (lambda x: random_shift(x, RNG(0), 1, -0.1), ValueError, "share must lie between 0 and 1"),
    ],
)
def test_numbers_that_make_no_sense(call, error, text):
    with pytest.raises(error, match=text):
        call(_images())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pixels_become_floats_by_the_mean_and_deviation_of_each_channel(dtype):
    x = RNG(0).integers(0, 256, (3, 4, 5, 3)).astype(np.uint8)
    p = Preprocessing(None, None, "bilinear", (0.1, 0.2, 0.3), (0.5, 1.0, 2.0))
    out = normalise(x, p, dtype)
    assert out.dtype == dtype and out.shape == x.shape
    for channel in range(3):
        wanted = (x[..., channel] / 255 - p.mean[channel]) / p.std[channel]
        np.testing.assert_allclose(out[..., channel], wanted, rtol=1e-5 if dtype == np.float32 else 1e-12, atol=1e-7)
    one = Preprocessing(None, None, "bilinear", (0.5,), (0.25,))
    np.testing.assert_allclose(normalise(x, one, dtype), (x / 255 - 0.5) / 0.25, atol=1e-6)


def test_floats_pass_and_pixels_need_a_mean():
    x = _images()
    assert normalise(x, None) is x
    with pytest.raises(ValueError, match=r"^preprocessing must say the mean and deviation of uint8 pixels; was None"):
        normalise(x.astype(np.uint8), None)
    with pytest.raises(TypeError, match=r"^x must be float32 or float64; was int64"):
        normalise(x.astype(np.int64), None)
    with pytest.raises(TypeError, match=r"^dtype must be float32 or float64; was float16"):
        normalise(x, None, np.float16)
