"""Before anything is imported: no test compiles by accident, not even in a process that it starts.

A test of the compiled kernels says so, with ``npmnv2.backend("numba")`` or with the environment that it gives a process.
"""

import os

os.environ["NPMNV2_BACKEND"] = "numpy"
