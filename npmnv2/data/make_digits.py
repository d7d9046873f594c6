"""Make `digits.npz` from the copy of the data that scikit-learn bundles: ``python -m npmnv2.data.make_digits``."""

import numpy as np

from npmnv2.data.digits import FILE, checksum


def main() -> None:
    """Write the file beside this one and print its checksum."""
    from sklearn.datasets import load_digits  # only needed here, so no dependency of the package

    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    assert (images == digits.images).all() and images.max() == 16
    np.savez_compressed(FILE, images=images, labels=labels)
    print(checksum(images, labels))


if __name__ == "__main__":
    main()
