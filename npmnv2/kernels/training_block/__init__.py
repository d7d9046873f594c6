"""The inverted residual in training mode, in few passes over memory: docs/training_speed.md.

The plain version is `nn.blocks.InvertedResidual`, layer by layer.
"""
