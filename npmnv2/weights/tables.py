"""What every library calls the arrays of a network: tables that are to be read.

A line is a convolution of ours, its name there, and the name of the batch norm behind it. `{i}` counts the blocks from
1, `{row}.{repeat}` as the paper's table does (our own names begin with those). Hugging Face's V1 counts convolutions,
two a block: `{2i-2}`, `{2i-1}`. The leaves, what is stored of a layer, are in `LEAVES`.

Three of the tables are only read, never written: two early ports of MobileNetV2 to PyTorch, by the accounts that
published them, and the ImageNet weights that Keras published in 2018, whose layers had other names then.
"""

_V2 = {
    "torchvision": """
        stem         features.0.0                         features.0.1
        b0.0.dw      features.1.conv.0.0                  features.1.conv.0.1
        b0.0.project features.1.conv.1                    features.1.conv.2
        expand       features.{i}.conv.0.0                features.{i}.conv.0.1
        dw           features.{i}.conv.1.0                features.{i}.conv.1.1
        project      features.{i}.conv.2                  features.{i}.conv.3
        head         features.18.0                        features.18.1
        fc           classifier.1
    """,
    "timm": """
        stem         conv_stem                            bn1
        b0.0.dw      blocks.0.0.conv_dw                   blocks.0.0.bn1
        b0.0.project blocks.0.0.conv_pw                   blocks.0.0.bn2
        expand       blocks.{row}.{repeat}.conv_pw        blocks.{row}.{repeat}.bn1
        dw           blocks.{row}.{repeat}.conv_dw        blocks.{row}.{repeat}.bn2
        project      blocks.{row}.{repeat}.conv_pwl       blocks.{row}.{repeat}.bn3
        head         conv_head                            bn2
        fc           classifier
    """,
    "keras": """
        stem         Conv1                                bn_Conv1
        b0.0.dw      expanded_conv_depthwise              expanded_conv_depthwise_BN
        b0.0.project expanded_conv_project                expanded_conv_project_BN
        expand       block_{i-1}_expand                   block_{i-1}_expand_BN
        dw           block_{i-1}_depthwise                block_{i-1}_depthwise_BN
        project      block_{i-1}_project                  block_{i-1}_project_BN
        head         Conv_1                               Conv_1_bn
        fc           predictions
    """,
    "hf": """
        stem         conv_stem.first_conv.convolution     conv_stem.first_conv.normalization
        b0.0.dw      conv_stem.conv_3x3.convolution       conv_stem.conv_3x3.normalization
        b0.0.project conv_stem.reduce_1x1.convolution     conv_stem.reduce_1x1.normalization
        expand       layer.{i-2}.expand_1x1.convolution   layer.{i-2}.expand_1x1.normalization
        dw           layer.{i-2}.conv_3x3.convolution     layer.{i-2}.conv_3x3.normalization
        project      layer.{i-2}.reduce_1x1.convolution   layer.{i-2}.reduce_1x1.normalization
        head         conv_1x1.convolution                 conv_1x1.normalization
        fc           classifier
    """,
    "slim": """
        stem         Conv                                 Conv/BatchNorm
        b0.0.dw      expanded_conv/depthwise              expanded_conv/depthwise/BatchNorm
        b0.0.project expanded_conv/project                expanded_conv/project/BatchNorm
        expand       expanded_conv_{i-1}/expand           expanded_conv_{i-1}/expand/BatchNorm
        dw           expanded_conv_{i-1}/depthwise        expanded_conv_{i-1}/depthwise/BatchNorm
        project      expanded_conv_{i-1}/project          expanded_conv_{i-1}/project/BatchNorm
        head         Conv_1                               Conv_1/BatchNorm
        fc           Logits/Conv2d_1c_1x1
    """,
    "tonylins": """
        stem         features.0.0                         features.0.1
        b0.0.dw      features.1.conv.0                    features.1.conv.1
        b0.0.project features.1.conv.3                    features.1.conv.4
        expand       features.{i}.conv.0                  features.{i}.conv.1
        dw           features.{i}.conv.3                  features.{i}.conv.4
        project      features.{i}.conv.6                  features.{i}.conv.7
        head         features.18.0                        features.18.1
        fc           classifier
    """,
    "keras_2018": """
        stem         Conv1                                bn_Conv1
        b0.0.dw      mobl0_conv_0_depthwise               bn0_conv_0_bn_depthwise
        b0.0.project mobl0_conv_0_project                 bn0_conv_0_bn_project
        expand       mobl{i-1}_conv_{i-1}_expand          bn{i-1}_conv_{i-1}_bn_expand
        dw           mobl{i-1}_conv_{i-1}_depthwise       bn{i-1}_conv_{i-1}_bn_depthwise
        project      mobl{i-1}_conv_{i-1}_project         bn{i-1}_conv_{i-1}_bn_project
        head         Conv_1                               Conv_1_bn
        fc           Logits
    """,
}
_V2["d-li14"] = _V2["tonylins"].replace("features.18.", "conv.")  # the same but for the head, conv.0 and conv.1

_V1 = {
    "timm": """
        stem         conv_stem                            bn1
        dw           blocks.{row}.{repeat}.conv_dw        blocks.{row}.{repeat}.bn1
        pw           blocks.{row}.{repeat}.conv_pw        blocks.{row}.{repeat}.bn2
        fc           classifier
    """,
    "keras": """
        stem         conv1                                conv1_bn
        dw           conv_dw_{i}                          conv_dw_{i}_bn
        pw           conv_pw_{i}                          conv_pw_{i}_bn
        fc           conv_preds
    """,
    "hf": """
        stem         conv_stem.convolution                conv_stem.normalization
        dw           layer.{2i-2}.convolution             layer.{2i-2}.normalization
        pw           layer.{2i-1}.convolution             layer.{2i-1}.normalization
        fc           classifier
    """,
    "slim": """
        stem         Conv2d_0                             Conv2d_0/BatchNorm
        dw           Conv2d_{i}_depthwise                 Conv2d_{i}_depthwise/BatchNorm
        pw           Conv2d_{i}_pointwise                 Conv2d_{i}_pointwise/BatchNorm
        fc           Logits/Conv2d_1c_1x1
    """,
}

_LITE = {  # efficientnet_lite_pytorch, whose names are those of efficientnet_pytorch
    "efficientnet_pytorch": """
        stem         _conv_stem                           _bn0
        expand       _blocks.{i-1}._expand_conv           _blocks.{i-1}._bn0
        dw           _blocks.{i-1}._depthwise_conv        _blocks.{i-1}._bn1
        project      _blocks.{i-1}._project_conv          _blocks.{i-1}._bn2
        head         _conv_head                           _bn1
        fc           _fc
    """,
}

TABLES = {"mobilenet_v2": _V2, "mobilenet_v1": _V1, "efficientnet_lite": _LITE}

# What stands before the names of a whole network; Hugging Face's classifier stands outside of it.
PREFIX = {
    ("hf", "mobilenet_v2"): "mobilenet_v2.",
    ("hf", "mobilenet_v1"): "mobilenet_v1.",
    ("slim", "mobilenet_v2"): "MobilenetV2/",
    ("slim", "mobilenet_v1"): "MobilenetV1/",
}

# -- the leaves: what is stored of a convolution, a batch norm, the classifier

PYTORCH = {
    "w": ".weight",
    "b": ".bias",
    "gamma": ".weight",
    "beta": ".bias",
    "mean": ".running_mean",
    "var": ".running_var",
}
_KERAS = {
    "w": "/kernel",
    "b": "/bias",
    "gamma": "/gamma",
    "beta": "/beta",
    "mean": "/moving_mean",
    "var": "/moving_variance",
}
LEAVES = {
    "torchvision": PYTORCH,
    "timm": PYTORCH,
    "hf": PYTORCH,
    "efficientnet_pytorch": PYTORCH,
    "tonylins": PYTORCH,
    "d-li14": PYTORCH,
    "keras": _KERAS,
    "keras_2018": _KERAS,
    "slim": {**_KERAS, "w": "/weights", "b": "/biases"},
}
COUNTER = ".num_batches_tracked"  # beside every batch norm of PyTorch's: how often it was updated, which nothing uses
