"""Does it help to begin with the weights of another task? Digits 0 to 4 first, then 5 to 9 with a tenth of the data.

    python benchmarks/fine_tuning.py                a minute or two
    python benchmarks/fine_tuning.py --epochs 40    with twice the steps the advantage is smaller
    python benchmarks/fine_tuning.py --quick        two seeds

For each seed a network learns to tell the digits 0 to 4 apart. Then others learn the digits 5 to 9 from a tenth of the
images there are, in the same steps: from random weights, or beginning with the first network's, in three ways. What
counts is the accuracy on held-out digits 5 to 9, by averaged weights.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common.command import write_json

from npmnv2.data import load_digits
from npmnv2.data.augment import random_shift
from npmnv2.models import mobilenet_v2
from npmnv2.runtime.threads import limit_threads
from npmnv2.train.datasets import TrainingData
from npmnv2.train.fine_tuning import network_from
from npmnv2.train.session import Session
from npmnv2.train.settings import resolve

WAYS = {
    "from random weights": {},
    "the same at a quarter of the rate": {"lr": 0.005},
    "fine-tuned": {"init": True, "bn": "update"},  # at a quarter of the rate, too
    "fine-tuned, statistics kept": {"init": True, "bn": "keep"},
    "fine-tuned, classifier alone": {"init": True, "freeze": "backbone"},
}


def only(data, first, share=1.0):
    """The digits from `first` to `first + 4`, called 0 to 4; of those to train on, a share."""
    parts = []
    for x, y in ((data.train_x, data.train_y), (data.test_x, data.test_y)):
        chosen = np.flatnonzero((first <= y) & (y < first + 5))
        parts += [x[chosen], y[chosen] - first]
    keep = round(share * len(parts[0]))
    classes = data.classes[first : first + 5]
    return data._replace(
        train_x=parts[0][:keep], train_y=parts[1][:keep], test_x=parts[2], test_y=parts[3], classes=classes
    )


def session(data, seed, epochs, batch_size, way=None, path=None):
    """A run on these images; `path` holds the weights to begin with, if the way has any."""
    way = dict(way or {})
    if way.pop("init", False):
        way["init"] = str(path)
    settings = resolve({"width": 0.35, "seed": seed, "epochs": epochs, "batch_size": batch_size, **way})
    config = {"strides": "digits", "dropout": settings.dropout, "momentum": settings.bn_momentum, "seed": seed}
    if settings.init:
        model, _ = network_from(settings.init, data, settings.width, **config)
    else:
        model = mobilenet_v2(len(data.classes), settings.width, in_channels=1, **config)
    return Session(settings, TrainingData(data, "digits", random_shift), model)


def one_seed(seed, pretraining, epochs, folder):
    """The accuracies, by way, of one seed."""
    data = load_digits(seed=seed)
    path = Path(folder, f"{seed}.npz")
    session(only(data, 0), seed, pretraining, 32).run(save=path)
    few = only(data, 5, share=0.1)
    return {name: session(few, seed, epochs, 8, way, path).run()[-1].ema_accuracy for name, way in WAYS.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two seeds and less pretraining")
    parser.add_argument("--epochs", type=int, default=20, metavar="E", help="on the digits 5 to 9 (default: 20)")
    parser.add_argument("--json", metavar="FILE", help="keep the accuracies in a file")
    arguments = parser.parse_args()
    seeds, pretraining = (2, 8) if arguments.quick else (5, 20)
    epochs = arguments.epochs
    started, rows = time.process_time(), []
    few = only(load_digits(), 5, share=0.1)
    print(f"digits 5 to 9: {len(few.train_x)} images to train on, {len(few.test_x)} held out; {epochs} epochs")
    print(f"begun with: digits 0 to 4, {len(only(load_digits(), 0).train_x)} images, {pretraining} epochs\n")
    with limit_threads(1), tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            rows.append(one_seed(seed, pretraining, epochs, folder))
            print(f"seed {seed} done", file=sys.stderr)
    print(f"{'held-out accuracy, %':<34} {'mean':>6} {'spread':>7}   each seed")
    for name in WAYS:
        values = [100 * row[name] for row in rows]
        each = " ".join(f"{value:5.1f}" for value in values)
        print(f"{name:<34} {statistics.mean(values):6.1f} {statistics.stdev(values):7.1f}   {each}")
    print(
        f"\nspread: standard deviation between seeds, whose images differ too. {time.process_time() - started:.0f} s."
    )
    if arguments.json:
        write_json(arguments.json, rows)


if __name__ == "__main__":
    main()
