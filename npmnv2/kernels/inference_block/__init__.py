"""Blocks with a depthwise convolution in their middle, in one pass, for inference: docs/fusion.md.

The plain version is `engine.folding.FoldedBlock`.
"""
