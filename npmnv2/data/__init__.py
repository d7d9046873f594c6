"""Data to train on, and pictures as input. Embedded: the UCI handwritten digits."""

from npmnv2.data.augment import normalise, random_crop, random_flip, random_shift
from npmnv2.data.cifar import load_cifar10, load_cifar100
from npmnv2.data.digits import Dataset, load_digits
from npmnv2.data.folder import load_folder
from npmnv2.data.images import fit, open_image, prepare
from npmnv2.data.mnist import load_mnist
from npmnv2.data.preprocessing import PREPROCESSING, Preprocessing

__all__ = [
    "PREPROCESSING",
    "Dataset",
    "Preprocessing",
    "fit",
    "load_cifar10",
    "load_cifar100",
    "load_digits",
    "load_folder",
    "load_mnist",
    "normalise",
    "open_image",
    "prepare",
    "random_crop",
    "random_flip",
    "random_shift",
]
