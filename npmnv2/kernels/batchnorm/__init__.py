"""Batch norm, with the ReLU6 that follows. `operations.py` has the signatures of `ops.batchnorm` and `ops.batchnorm_relu6`."""
