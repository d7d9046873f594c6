"""Depthwise and pointwise convolution in one pass. No layer runs it; `benchmarks/separable.py` measures it."""
