"""Preprocessing against the frameworks' own, live. Runs with -m oracle; needs all four of them."""

import os

import numpy as np
import pytest
from PIL import Image

from npmnv2.data import PREPROCESSING, open_image, prepare

pytestmark = pytest.mark.oracle

# (H, W): tall and wide, odd margins of every kind, very small, one pixel narrow
SIZES = [
    (300, 400),
    (401, 300),
    (259, 256),
    (256, 259),
    (333, 500),
    (500, 333),
    (256, 256),
    (225, 225),
    (100, 90),
    (30, 41),
    (7, 5),
    (1, 3),
    (1000, 1001),
    (517, 1031),
    (224, 448),
    (640, 427),
]


@pytest.fixture(scope="module", params=SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def photo(request, tmp_path_factory):
    """A JPEG with soft shapes and hard noise, and what `open_image` makes of it."""
    H, W = request.param
    rng = np.random.default_rng(H * 10_000 + W)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 9, 3)).astype(np.uint8)).resize((W, H), Image.Resampling.BICUBIC)
    pixels = np.clip(np.asarray(coarse) + rng.normal(0, 20, (H, W, 3)), 0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    Image.fromarray(pixels).save(path, quality=92)
    return path, open_image(path)


@pytest.fixture(scope="module")
def torchvision():
    from golden.torchvision_models import torchvision

    return torchvision


def _nhwc(tensor):
    return np.asarray(tensor).reshape(tensor.shape[-3:]).transpose(1, 2, 0)


def test_decoding_is_the_frameworks(photo):
    path, image = photo
    np.testing.assert_array_equal(image, np.asarray(Image.open(path).convert("RGB")))


def test_torchvision_bit_for_bit(photo, torchvision):
    path, image = photo
    transform = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1.transforms()
    np.testing.assert_array_equal(prepare(image, PREPROCESSING["torchvision"]), _nhwc(transform(Image.open(path))))
    transform = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V2.transforms()
    ours = prepare(image, PREPROCESSING["torchvision"]._replace(resize=232))
    np.testing.assert_array_equal(ours, _nhwc(transform(Image.open(path))))


def test_timm_bit_for_bit(photo, torchvision):
    from timm.data import create_transform, resolve_data_config
    from timm.models import get_pretrained_cfg

    path, image = photo
    config = resolve_data_config({}, pretrained_cfg=get_pretrained_cfg("mobilenetv2_100").to_dict())
    transform = create_transform(**config, is_training=False)
    np.testing.assert_array_equal(prepare(image, PREPROCESSING["timm"]), _nhwc(transform(Image.open(path))))


def test_keras(photo):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    path, image = photo
    loaded = keras.utils.img_to_array(keras.utils.load_img(path, target_size=(224, 224)))
    theirs = keras.applications.mobilenet_v2.preprocess_input(loaded.copy())
    np.testing.assert_allclose(prepare(image, PREPROCESSING["keras"]), theirs, atol=2e-7, rtol=0)
    loaded = keras.utils.load_img(path, target_size=(224, 224), interpolation="bicubic")
    theirs = keras.applications.mobilenet_v2.preprocess_input(keras.utils.img_to_array(loaded))
    ours = prepare(image, PREPROCESSING["keras"]._replace(interpolation="bicubic"))
    np.testing.assert_allclose(ours, theirs, atol=2e-7, rtol=0)


def _hugging_face(photo, torchvision, name):
    from transformers.models import mobilenet_v2

    path, image = photo
    processor = getattr(mobilenet_v2, name)(image_mean=[0.5] * 3, image_std=[0.5] * 3)
    theirs = processor(Image.open(path), return_tensors="pt")["pixel_values"]
    return prepare(image, PREPROCESSING["hf"]), _nhwc(theirs)


def test_hugging_face_on_pillow(photo, torchvision):
    ours, theirs = _hugging_face(photo, torchvision, "MobileNetV2ImageProcessorPil")
    np.testing.assert_allclose(ours, theirs, atol=5e-7, rtol=0)


def test_hugging_face(photo, torchvision):
    """Its default resizes with PyTorch, which rounds pixels halfway between two levels the other way now and then."""
    ours, theirs = _hugging_face(photo, torchvision, "MobileNetV2ImageProcessor")
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1.01 / 127.5
    assert (np.abs(ours - theirs) > 1e-3).mean() < 0.15
