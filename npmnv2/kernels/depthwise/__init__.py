"""Depthwise convolution. Read `loops.py` first; `operations.py` has the signatures of `ops.depthwise`."""
