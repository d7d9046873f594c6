"""Standard and pointwise convolution in tiles. `operations.py` has the signatures of `ops.conv`."""
