"""Training. `loop.py` is the loop, to be read aloud; `progress.py` what goes on around it.

A run as a person has it: `settings.py` says how it goes, `datasets.py` what it learns from, `session.py` puts together
what it needs, `state.py` turns all of it into one file and back, `fine_tuning.py` begins with a trained network.
"""

from npmnv2.train.ema import EMA
from npmnv2.train.evaluation import confusion_matrix, evaluate, predict
from npmnv2.train.loop import train
from npmnv2.train.progress import Epoch, Position
from npmnv2.train.schedules import cosine_schedule, exponential_schedule

__all__ = [
    "EMA",
    "Epoch",
    "Position",
    "confusion_matrix",
    "cosine_schedule",
    "evaluate",
    "exponential_schedule",
    "predict",
    "train",
]
