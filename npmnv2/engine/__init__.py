"""What makes networks fast: folding, the fused engine, the backend that attaches the kernels, ONNX.

`backend.py` is the one place that attaches compiled code to the layers of `nn/`.
"""
