"""How a picture becomes the input of a network: one row of data, because each framework trained with another one."""

import math
import warnings
from typing import Any, NamedTuple

from npmnv2.validate import check_int, check_number

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
LONGEST_SIDE = 10_000  # of a resized or cropped picture: more is no input of a network, and would fill the memory


class Preprocessing(NamedTuple):
    """What is done to a picture before the network sees it: resize, cut out the centre, take off the mean and scale.

    Examples
    --------
    >>> keras = PREPROCESSING["keras"]
    >>> keras.resize, keras.interpolation, keras.mean, keras.std
    ((224, 224), 'nearest', (0.5,), (0.5,))
    >>> Preprocessing.from_dict(keras.to_dict()) == keras
    True
    >>> PREPROCESSING["timm"]._replace(interpolation="cubic").checked()
    Traceback (most recent call last):
        ...
    ValueError: interpolation must be one of nearest, bilinear, bicubic; was 'cubic'
    """

    resize: int | tuple[int, int] | None  # the shorter side; (height, width) stretches; None leaves the size
    crop: int | None  # side of the square cut out of the centre
    interpolation: str  # "nearest", "bilinear" or "bicubic"
    mean: tuple[float, ...]  # of pixels scaled to 0..1: one for all channels, or one each
    std: tuple[float, ...]
    channels: int = 3  # 3: red, green, blue; 1: grey
    crop_rounds: str = "even"  # a margin of half a pixel goes to the "even" neighbour, or "down"
    crop_first: float | None = None  # the share of the shorter side that is cut out of the centre before all else

    def for_channels(self, channels: int) -> "Preprocessing | None":
        """The same for a network of so many channels: None if nobody knows how.

        A grey network gets grey pictures, and the mean of the three colours' means and deviations.

        Examples
        --------
        >>> grey = PREPROCESSING["torchvision"].for_channels(1)
        >>> grey.channels, [round(value, 3) for value in (*grey.mean, *grey.std)]
        (1, [0.449, 0.226])
        """
        if channels == self.channels:
            return self
        if channels != 1:
            return None
        mean, std = (sum(values) / len(values) for values in (self.mean, self.std))
        return self._replace(mean=(mean,), std=(std,), channels=1)

    def changed(
        self,
        size: int | None = None,
        resize: int | tuple[int, int] | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> "Preprocessing":
        """The same with another size or normalisation.

        Parameters
        ----------
        size : int, optional
            Side of the square that the network gets. Without `resize` as much of the picture is seen as before.
        resize : int or (int, int), optional
            What the shorter side becomes before the square is cut out of the centre; height and width stretch the
            picture to just that, and nothing is cut.
        mean, std : tuple of float, optional
            Of pixels scaled to 0..1.

        Returns
        -------
        Preprocessing

        Raises
        ------
        ValueError, TypeError
            As `checked` does; also if `size` is given with height and width.

        Warns
        -----
        UserWarning
            If the square is larger than what it is cut out of.

        Examples
        --------
        >>> small = PREPROCESSING["torchvision"].changed(size=96)
        >>> small.resize, small.crop
        (110, 96)
        >>> PREPROCESSING["keras"].changed(size=96).resize, PREPROCESSING["keras"].changed(resize=256).crop
        ((96, 96), 224)
        """
        p = self
        if isinstance(resize, tuple):
            if size is not None:
                raise ValueError(f"size must be left out where resize is height and width; was {size}")
            p = p._replace(resize=resize, crop=None)
        elif resize is not None:
            was = p.crop or (p.resize[0] if isinstance(p.resize, tuple) and p.resize[0] == p.resize[1] else None)
            p = p._replace(resize=resize, crop=size or was)
            if check_int(resize, "resize") < (p.crop or 0):
                cut = f"the shorter side becomes {resize}, and the square that is cut out is {p.crop} x {p.crop}"
                warnings.warn(f"{cut}: the rest of it is black", stacklevel=2)
        elif size is not None:
            check_int(size, "size", 1, LONGEST_SIDE)
            if isinstance(p.resize, int) and p.crop:
                p = p._replace(resize=round(p.resize * size / p.crop), crop=size)
            else:
                p = p._replace(resize=(size, size), crop=None)
        return p._replace(mean=mean or p.mean, std=std or p.std).checked()

    def __str__(self) -> str:
        """What is done, in words, in order.

        Examples
        --------
        >>> print(PREPROCESSING["torchvision"])
        shorter side to 256 (bilinear), 224 x 224 from the centre, colour, mean 0.485 0.456 0.406, std 0.229 0.224 0.225
        """
        steps = [] if self.crop_first is None else [f"the middle {self.crop_first:.3f}"]
        if isinstance(self.resize, tuple):
            steps.append(f"stretched to {self.resize[0]} x {self.resize[1]} ({self.interpolation})")
        elif self.resize is not None:
            steps.append(f"shorter side to {self.resize} ({self.interpolation})")
        if self.crop is not None:
            steps.append(f"{self.crop} x {self.crop} from the centre")
        steps.append("grey" if self.channels == 1 else "colour")
        for name, values in (("mean", self.mean), ("std", self.std)):
            steps.append(" ".join([name, *(f"{value + 0:.4g}" for value in values)]))
        return ", ".join(steps)

    def to_dict(self) -> dict[str, Any]:
        """The same as a dictionary that JSON can hold."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self._asdict().items()}

    @classmethod
    def from_dict(cls, values: Any) -> "Preprocessing":
        """What `to_dict` gave, read back and checked.

        Raises
        ------
        ValueError, TypeError
            If a name is missing or unknown or a value makes no sense; the message says which.
        """
        if not isinstance(values, dict):
            raise TypeError(f"preprocessing must be a dictionary; was {type(values).__name__}")
        needed = [name for name in cls._fields if name not in cls._field_defaults]
        wrong = [f"{name} is missing" for name in needed if name not in values]
        wrong += [f"{name!r} is unknown" for name in values if name not in cls._fields]
        if wrong:
            raise ValueError(f"preprocessing must have {', '.join(cls._fields)}; {wrong[0]}")
        tuples: Any = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        return cls(**tuples).checked()

    def checked(self) -> "Preprocessing":
        """Itself, if every value makes sense.

        Raises
        ------
        ValueError, TypeError
            With the name of the one that does not.
        """
        if isinstance(self.resize, tuple):
            if len(self.resize) != 2:
                raise ValueError(f"resize must be one side, or height and width; was {self.resize}")
            for side in self.resize:
                check_int(side, "resize", 1, LONGEST_SIDE)
        elif self.resize is not None:
            check_int(self.resize, "resize", 1, LONGEST_SIDE)
        if self.crop is not None:
            check_int(self.crop, "crop", 1, LONGEST_SIDE)
        if self.crop_first is not None:
            check_number(self.crop_first, "crop_first", 0, 1, "(]")
        _check_choice(self.interpolation, "interpolation", INTERPOLATIONS)
        _check_choice(self.crop_rounds, "crop_rounds", ("even", "down"))
        if check_int(self.channels, "channels") not in (1, 3):
            raise ValueError(f"channels must be 1 or 3; was {self.channels}")
        for name, values, low, ends in (("mean", self.mean, -math.inf, "[]"), ("std", self.std, 0, "(]")):
            if not isinstance(values, tuple) or len(values) not in (1, self.channels):
                some = "one number" if self.channels == 1 else "one number or three"
                raise ValueError(f"{name} must be a tuple of {some}; was {values!r}")
            for value in values:
                check_number(value, name, low, ends=ends)
        return self


def _check_choice(value: object, name: str, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; was {value!r}")


_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and standard deviation, red first
_MINUS_1_TO_1 = (0.5,), (0.5,)

PREPROCESSING = {
    # torchvision, MobileNet_V2_Weights.IMAGENET1K_V1.transforms(); IMAGENET1K_V2 resizes to 232 instead:
    # PREPROCESSING["torchvision"]._replace(resize=232)
    "torchvision": Preprocessing(256, 224, "bilinear", *_IMAGENET),
    # timm, the default_cfg of mobilenetv2_100: input_size 224, crop_pct 0.875, so 224 / 0.875 = 256 before the crop
    "timm": Preprocessing(256, 224, "bicubic", *_IMAGENET),
    # Keras: keras.utils.load_img(path, target_size=(224, 224)), whose interpolation is "nearest" if nothing is said,
    # then keras.applications.mobilenet_v2.preprocess_input
    "keras": Preprocessing((224, 224), None, "nearest", *_MINUS_1_TO_1),
    # Hugging Face, preprocessor_config.json of google/mobilenet_v2_1.0_224 and MobileNetV2ImageProcessor, which rounds
    # the margins of the crop down where torchvision rounds them to even
    "hf": Preprocessing(256, 224, "bilinear", *_MINUS_1_TO_1, crop_rounds="down"),
    # EfficientNet-Lite, tensorflow/tpu, models/official/efficientnet: preprocessing.py cuts first, then resizes, and
    # lite/efficientnet_lite_builder.py takes off 127 and divides by 128. Two things differ there: a margin of half a
    # pixel goes up, and TensorFlow's bicubic looks at 16 pixels however much it makes smaller, where Pillow's looks at
    # all that it leaves out. Other sizes: `lite_preprocessing`.
    "efficientnet_pytorch": Preprocessing(
        (224, 224), None, "bicubic", (127 / 255,), (128 / 255,), crop_rounds="down", crop_first=0.875
    ),
}


def lite_preprocessing(resolution: int) -> Preprocessing:
    """What an EfficientNet-Lite for images of this size sees: about 7/8 of the shorter side of a picture.

    The margin of a seventh of the image is rounded to whole pixels of it, so the share is not quite the same for all.

    Parameters
    ----------
    resolution : int
        Side of the image, in pixels.

    Returns
    -------
    Preprocessing

    Examples
    --------
    >>> lite_preprocessing(224) == PREPROCESSING["efficientnet_pytorch"]
    True
    >>> lite_preprocessing(240).resize, round(lite_preprocessing(240).crop_first, 4)
    ((240, 240), 0.8759)
    """
    share = resolution / (resolution + round(resolution / 7))
    return PREPROCESSING["efficientnet_pytorch"]._replace(resize=(resolution, resolution), crop_first=share)
