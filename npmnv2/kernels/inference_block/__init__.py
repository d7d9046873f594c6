"""A block with a depthwise convolution in its middle, in one pass, for inference. docs/fusion.md derives it.

The plain version is `engine.folding.FoldedBlock`: one convolution after the other, each result whole in memory.
Read `records.py`, then `rows.py` and `channels.py`, the two ways to cut, then the three steps that both are made of:
`expand.py`, `depthwise.py`, `project.py`. `blocks.py` is what is called, for some blocks at once; `cutting.py` chooses
the numbers; `head.py` is the end of the network.
"""
