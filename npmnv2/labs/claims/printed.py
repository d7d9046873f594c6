"""What is printed in the papers and on the pages of the checkpoints, as printed: right or wrong.

V1 is arXiv:1704.04861, V2 arXiv:1801.04381 (v4), V3 arXiv:1905.02244, ShuffleNet arXiv:1707.01083.
"""

# tensorflow/models, research/slim/nets/mobilenet/README.md: millions of multiply-adds by width and resolution.
V2_CHECKPOINTS = {
    1.4: {224: 582},
    1.3: {224: 509},
    1.0: {224: 300, 192: 221, 160: 154, 128: 99, 96: 56},
    0.75: {224: 209, 192: 153, 160: 107, 128: 69, 96: 39},
    0.5: {224: 97, 192: 71, 160: 50, 128: 32, 96: 18},
    0.35: {224: 59, 192: 43, 160: 30, 128: 20, 96: 11},
}
# tensorflow/models, research/slim/nets/mobilenet_v1.md: the same.
V1_CHECKPOINTS = {
    1.0: {224: 569, 192: 418, 160: 291, 128: 186},
    0.75: {224: 317, 192: 233, 160: 162, 128: 104},
    0.5: {224: 150, 192: 110, 160: 77, 128: 49},
    0.25: {224: 41, 192: 34, 160: 21, 128: 14},
}
# V1, Table 2: per cent of the multiply-adds.
V1_TABLE_2 = {"Conv 1x1": 94.86, "Conv DW 3x3": 3.06, "Conv 3x3": 1.19, "Fully Connected": 0.18}
# V1, Table 4: top-1 in per cent, millions of multiply-adds.
V1_TABLE_4 = {"Conv MobileNet": (71.7, 4866), "MobileNet": (70.6, 569)}
# V2, Table 4: top-1 in per cent, millions of multiply-adds, milliseconds on a telephone.
V2_TABLE_4: dict[str, tuple[float, int, int | None]] = {
    "MobileNetV1": (70.6, 575, 113),
    "ShuffleNet (1.5)": (71.5, 292, None),
    "ShuffleNet (x2)": (73.7, 524, None),
    "NasNet-A": (74.0, 564, 183),
    "MobileNetV2": (72.0, 300, 75),
    "MobileNetV2 (1.4)": (74.7, 585, 143),
}
# V2, Table 6, object detection: average precision, billions of multiply-adds, milliseconds.
V2_TABLE_6: dict[str, tuple[float, float, int | None]] = {
    "YOLOv2": (21.6, 17.5, None),
    "V1 + SSDLite": (22.2, 1.3, 270),
    "V2 + SSDLite": (22.1, 0.8, 200),
}
V2_TABLE_5_SSDLITE = 0.35  # billions of multiply-adds of the layers of detection alone
# V2, Table 7, segmentation, output stride 8 with MF (several scales, and mirrored): mIOU, billions of multiply-adds.
V1_AT_8, RESNET_AT_8, V2_AT_8 = (78.56, 941.9), (82.70, 4870.6), (77.33, 152.6)
V2_AT_16 = (75.32, 2.75)  # the same network as V2_AT_8, output stride 16, without MF
# ShuffleNet, Table 1: channels of the three stages by number of groups. V2, Table 3: those of "2x, g=3".
SHUFFLENET = {1: (144, 288, 576), 2: (200, 400, 800), 3: (240, 480, 960), 4: (272, 544, 1088), 8: (384, 768, 1536)}
V2_TABLE_3_SHUFFLENET = (400, 800, 1600)
# V3, Tables 1 and 2: output channels and stride of each block of Large; those of Small with the side of the kernel,
# the channels of the middle, and whether squeeze-and-excite follows: k, middle, out, se, s.
V3_LARGE = ((16, 1), (24, 2), (24, 1), (40, 2), (40, 1), (40, 1), (80, 2), (80, 1), (80, 1), (80, 1)) + (
    (112, 1), (112, 1), (160, 2), (160, 1), (160, 1)
)  # fmt: skip
V3_SMALL = (
    (3, 16, 16, True, 2),
    (3, 72, 24, False, 2),
    (3, 88, 24, False, 1),
    (5, 96, 40, True, 2),
    (5, 240, 40, True, 1),
    (5, 240, 40, True, 1),
    (5, 120, 48, True, 1),
    (5, 144, 48, True, 1),
    (5, 288, 96, True, 2),
    (5, 576, 96, True, 1),
    (5, 576, 96, True, 1),
)
