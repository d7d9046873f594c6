"""Batch norm, and with ReLU6: `operations.py` has the signatures of `ops.batchnorm` and `ops.batchnorm_relu6`."""
