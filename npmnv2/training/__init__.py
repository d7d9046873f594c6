"""Training as a person does it: recipes, data by name, stopping and going on, fine-tuning.

The loop itself is `train.train`. Here is what stands around it: `settings` says how a run goes, `session` puts
together what a run needs, `state` turns all of it into one file and back, `fine_tuning` begins with another network's
weights.
"""

from npmnv2.training.session import Session, Stopped, begin, resume
from npmnv2.training.settings import RECIPES, Settings, resolve

__all__ = ["RECIPES", "Session", "Settings", "Stopped", "begin", "resolve", "resume"]
