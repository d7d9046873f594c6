"""A block with a depthwise convolution in its middle, in one pass, for inference. docs/fusion.md derives it.

The plain version is `engine.folding.FoldedBlock`: one convolution after the other, each result whole in memory.
Read `records.py`, then `block.py`, what a thread does, then its three steps: `expand.py`, `depthwise.py`, `project.py`.
The first and the last are products, `window.py`, by the tiles of `kernels/tiles.py`. `blocks.py` is what is called,
for some blocks at once; `cutting.py` chooses the numbers; `head.py` is the end of the network.
"""
