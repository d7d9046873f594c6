"""What layers and networks cost, from shapes alone: parameters, multiply-adds, bytes. Nothing here runs a model.

One multiply-add (MAdd) is one multiplication and its addition, counted in convolutions and linear layers only; no bias,
batch norm, activation or pooling. It is the papers' convention. Other tools count other things: `counting` names them.
Bytes are float32 unless an element size is asked for. Where the formulas come from, step by step: docs/costs.md.

- `layer`: the formulas, one layer at a time.
- `network`: the networks, layer by layer; totals; receptive fields.
- `counting`: what other tools count, as named conventions.
- `memory`: how much a network holds at once.
"""

from npmnv2.cost import counting, memory
from npmnv2.cost.layer import KINDS, LayerCost, convolution, linear, separable, separable_gain
from npmnv2.cost.network import (
    NETWORKS,
    Field,
    Total,
    efficientnet_lite,
    mobilenet_v1,
    mobilenet_v1_conv,
    mobilenet_v2,
    receptive_fields,
    total,
)

__all__ = [
    "KINDS",
    "NETWORKS",
    "Field",
    "LayerCost",
    "Total",
    "convolution",
    "counting",
    "efficientnet_lite",
    "linear",
    "memory",
    "mobilenet_v1",
    "mobilenet_v1_conv",
    "mobilenet_v2",
    "receptive_fields",
    "separable",
    "separable_gain",
    "total",
]
