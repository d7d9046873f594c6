# mypy: ignore-errors
# %% [markdown]
# # Lab 0: it runs here
#
# 10 minutes. There is nothing to write: this file finds out whether the labs will run on this machine.
#
# 1. Run it: `python lab0.py`, or all cells of `lab0.ipynb`. It prints the versions of Python and NumPy.
# 2. Ask the grader: `python -m npmnv2 lab 0`. It says "passed".
#
# In a `.py` file `# %%` begins a cell: editors such as VS Code and Spyder run a cell at a time. Files of later labs lie
# in this folder too. `python -m npmnv2 lab start 1` writes the next.

# %%
import sys

import numpy as np


def versions():
    """The versions of Python and NumPy, as numbers: (major, minor) of each."""
    major, minor = np.__version__.split(".")[:2]
    return np.array([[sys.version_info.major, sys.version_info.minor], [int(major), int(minor)]])


# %%
if __name__ == "__main__":
    python, numpy = versions().tolist()
    print(f"Python {python[0]}.{python[1]}, NumPy {numpy[0]}.{numpy[1]}: it runs here.")
