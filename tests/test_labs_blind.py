"""The blind bank: mistakes written from the handouts and the stubs alone, by somebody who had not seen the grader.

One file a mistake, in `tests/labs/blind`; its first line says what is wrong. As the grader was when its part of the
bank was written, and as it is now (that second rate is not a blind one: the bank was read for it):

    lab   wrong   named   unexplained   misled      named now
    1     20      16      4             0           20
    2     35      28      6             1           34
    3     10      10      0             0           10
    4     20      19      1             0           20
    5     20      18      2             0           20
    6     10      9       1             0           10

The one that misled: a copy of x to begin with was called a second name for it. No wrong version passed, and every right
one did. The one that still has no name: an image padded on every axis and cut back comes out as zeros, and the grader
says no more than that: "zero".
"""

import pathlib

import numpy as np
import pytest
from labs.bank import edited

from npmnv2 import labs
from npmnv2.labs.causes import CAUSES
from npmnv2.labs.grade import _unsteady, grade

BLIND = pathlib.Path(__file__).parent / "labs" / "blind"
CAUSE = {
    "lab1": {
        "as_standard_every_place": "not-diagonal",
        "as_standard_first_filter": "channels-mixed",
        "as_standard_reshape_not_transpose": "reordered",
        "depthwise_first_image": "images-mixed",
        "depthwise_first_window_skipped": "tap-offset",
        "depthwise_mean_of_window": "averaged",
        "depthwise_mirrored_columns": "kernel-flipped",
        "depthwise_one_row_too_few": "wrong-shape",
        "depthwise_relu6": "not-linear",
        "depthwise_running_total": "not-reset",
        "depthwise_stride_rows_only": "stride-ignored",
        "depthwise_sums_channels": "channels-mixed",
        "depthwise_tap_times_stride": "stride-on-tap",
        "depthwise_taps_exchanged": "kernel-transposed",
        "depthwise_turned_round": "kernel-flipped",
        "depthwise_whole_numbers": "wrong-dtype",
        "pointwise_channels_first": "reordered",
        "pointwise_mean_of_channels": "averaged",
        "pointwise_product_of_sums": "product-of-sums",
        "pointwise_weights_reshaped": "reordered",
    },
    "lab2": {
        "backward_of_a_true_convolution": "kernel-flipped",
        "divided_by_the_batch": "averaged",
        "dout_scaled_in_place": "input-changed",
        "dw_new_for_each_image": "image-lost",
        "dw_padded_with_the_edge": "padding-not-zero",
        "dw_product_of_sums": "product-of-sums",
        "dw_reshaped_not_transposed": "reordered",
        "dw_stride_forgotten": "stride-ignored",
        "dw_sums_the_channels": "channels-mixed",
        "dw_without_the_padding": "padding-offset",
        "dx_begins_with_x": "not-started-at-zero",
        "dx_crop_from_start": "padding-offset",
        "dx_crop_minus_pad": "crop-empty",
        "dx_crop_too_far": "padding-offset",
        "dx_fancy_index_adds_once": "assigned",
        "dx_kernel_not_turned": "kernel-flipped",
        "dx_last_window_stays": "assigned",
        "dx_new_for_each_tap_row": "tap-lost",
        "dx_not_spread": "stride-ignored",
        "dx_stride_forgotten_and_dw_mean": "averaged",  # two mistakes: this one comes with the smaller case
        "dx_sums_the_channels": "channels-mixed",
        "dx_without_dout": "not-a-product",
        "dxp_is_xp": "wrong-array",
        "each_factor_to_itself": "wrong-array",
        "float32_inside": "precision",
        "height_for_width": "raises",
        "last_window_is_lost": "window-lost",
        "padded_at_top_and_left": "padding-offset",
        "padded_on_every_axis": "zero",
        "relu_mask": "not-linear",
        "row_zero_is_lost": "border-lost",
        "stride_for_rows_only": "stride-ignored",
        "tap_times_stride": "stride-on-tap",
        "wraps_round_at_the_top": "wraps-round",
        "x_is_the_loop_variable": "raises",
    },
    "lab3": {
        "divided_by_h": "rejects-the-right",
        "dout_of_ones": "dout-constant",
        "dw_never_checked": "not-compared",
        "error_without_abs": "one-sided",
        "integer_arrays_swallow_the_step": "argument-dtype",
        "nan_of_the_relative_error": "not-compared",
        "one_channel_one_image": "one-channel",
        "only_sums_compared": "not-compared",
        "stride_one_only": "stride-never-2",
        "windows_do_not_overlap": "no-overlap",
    },
    "lab4": {
        "centered_overwritten": "direct-term-missing",
        "closed_form_sums_swapped": "sums-exchanged",
        "dgamma_centered_not_xhat": "not-normalised",
        "dgamma_dbeta_averaged": "averaged",
        "dgamma_from_dxhat": "gamma-extra",
        "eps_forgotten": "eps-missing",
        "gamma_missing_in_dx": "gamma-forgotten",
        "gamma_twice_and_mean_missing": "mean-term-missing",
        "inv_std_not_summed": "sum-missing",
        "m_is_batch_size": "count-wrong",
        "mean_path_missing": "mean-term-missing",
        "mean_path_not_divided": "count-wrong",
        "per_image_statistics": "axes-wrong",
        "power_minus_half": "std-power",
        "reshape_mixes_channels": "statistics-mix-channels",
        "square_factor_two_missing": "variance-term-factor",
        "statistics_constant": "statistics-constant",
        "unbiased_variance": "count-minus-one",
        "variance_sign_and_eps_outside": "sign",
        "variance_term_missing": "variance-term-missing",
    },
    "lab5": {
        "backward_filter_gradient_from_wide_norm": "wrong-array",
        "backward_mask_always_true": "mask-missing",
        "backward_mask_from_before_the_norm": "mask-of-other",
        "backward_norm_backward_gets_its_output": "norm-of-output",
        "backward_pointwise_averaged_and_from_filtered_norm": "wrong-array",
        "backward_relu6_upper_end_ignored": "mask-of-relu",
        "backward_shortcut_gradient_missing": "shortcut-gradient-missing",
        "backward_stride_one_in_the_backward": "stride-ignored",
        "forward_last_norm_missing": "not-normalised",
        "forward_norm_after_activation": "activation-before-norm",
        "forward_relu6_after_add": "activation-at-the-end",
        "forward_relu6_after_projection": "activation-at-the-end",
        "forward_relu6_on_input_without_widening": "expansion-at-1",
        "forward_relu_without_six": "relu-for-relu6",
        "forward_shortcut_added_into_x": "input-changed",
        "forward_shortcut_at_stride_two": "shortcut-extra",
        "forward_shortcut_before_last_norm": "shortcut-misplaced",
        "forward_shortcut_needs_widening_and_no_relu6_after_filter": "activation-missing",
        "forward_stride_on_projection": "stride-misplaced",
        "forward_stride_on_widening": "stride-misplaced",
    },
    "lab6": {
        "layer_depthwise_all_channels": "depthwise-as-standard",
        "layer_flops_and_weights_not_read": "two-operations",
        "layer_input_pixels_counted": "input-pixels",
        "layer_padded_input_read": "padding-counted",
        "layer_padding_forgotten": "padding-forgotten",
        "layer_size_rounded_down": "floor-for-ceil",
        "network_channels_updated_after_row": "wrong-width",
        "network_stride_in_every_block": "stride-repeated",
        "network_stride_on_the_widening": "stride-misplaced",
        "network_width_from_output_channels": "wrong-width",
    },
}
# Relatives of what was mended, to see that it was not mended for one file: the file, the cause, and what is replaced.
RELATIVES = [
    (
        "lab1/depthwise_running_total",
        "not-reset",
        (
            "        for c in range(C):\n            for y",
            "        total = 0.0\n        for c in range(C):\n            for y",
        ),
        ("                total = 0.0\n", ""),
    ),
    ("lab1/depthwise_relu6", "not-linear", ("np.clip(out, 0, 6)", "np.abs(out)")),
    (
        "lab1/pointwise_channels_first",
        "reordered",
        ("x[n].reshape(C, H * W)", "x[n].reshape(C, W, H).transpose(0, 2, 1).reshape(C, H * W)"),
    ),
    (
        "lab1/as_standard_reshape_not_transpose",
        "reordered",
        ("w = np.zeros((C, C, KH, KW), wd.dtype)", "w = np.zeros((C, KH, KW, C), wd.dtype)"),
        ("w[c, c] =", "w[c, :, :, c] ="),
    ),
    (
        "lab2/last_window_is_lost",
        "window-lost",
        ("r in range(0, HP - KH, stride)", "r in range(stride, HP - KH, stride)"),
    ),
    ("lab2/row_zero_is_lost", "border-lost", ("0 < r < H and 0 < q < W", "0 <= r < H - 1 and 0 <= q < W - 1")),
    ("lab2/dx_begins_with_x", "same-array", ("xp.copy()", "xp")),
    (
        "lab2/dw_reshaped_not_transposed",
        "reordered",
        ("axis=(0, 1, 2)).reshape(KH, KW, C)", "axis=(0, 1, 2)).transpose(2, 1, 0).reshape(KH, KW, C)"),
    ),
    ("lab2/relu_mask", "not-linear", ("dout * (out > 0)", "dout * np.sign(out)")),
    (
        "lab2/dx_without_dout",
        "not-reset",
        ("+= w[i, j]\n", "+= dout[:, y, z] * w[i, j]\n"),
        ("    return dxp", "    dw = np.cumsum(dw, axis=0)\n    return dxp"),
    ),
]


def _verdict(lab, source):
    number = int(lab[3:])
    return grade(labs.find(number), source, f"lab{number}.py", limit=20)


def _source(name):
    return (BLIND / f"{name}.py").read_text(encoding="utf-8")


def test_every_file_has_its_cause():
    for lab, causes in CAUSE.items():
        assert sorted(causes) == sorted(path.stem for path in (BLIND / lab).glob("*.py"))
        assert set(causes.values()) <= set(CAUSES)
        assert all(_source(f"{lab}/{name}").startswith("# ") for name in causes)


WRONG = [(lab, name) for lab, causes in CAUSE.items() for name in causes]


@pytest.mark.parametrize(
    "lab, name", [pytest.param(*one, marks=[pytest.mark.slow] * (k % 9 > 0)) for k, one in enumerate(WRONG)]
)
def test_a_wrong_version_is_named(lab, name):
    """Each ninth by default; all with `-m slow` besides."""
    verdict = _verdict(lab, _source(f"{lab}/{name}"))
    assert not verdict.passed and verdict.cause == CAUSE[lab][name], verdict.says


@pytest.mark.slow
@pytest.mark.parametrize("name, cause, changes", [(name, cause, changes) for name, cause, *changes in RELATIVES])
def test_its_relatives_are_named_too(name, cause, changes):
    verdict = _verdict(name.split("/")[0], edited(_source(name), *changes))
    assert not verdict.passed and verdict.cause == cause, verdict.says


@pytest.mark.parametrize("name", sorted(path.stem for path in (BLIND / "right").glob("*.py")))
def test_a_right_version_passes(name):
    verdict = _verdict(name.split("_")[0], _source(f"right/{name}"))
    assert verdict.passed, verdict


def test_a_view_that_reaches_beyond_its_array_is_named():
    """What lies there differs from call to call, or not, as it happens: the two results are made up here."""
    source = _source("lab1/depthwise_taps_exchanged")
    values = [(np.array([1.0]), np.array([5.0]), np.array([2.0]))]
    assert _unsteady("out", values, source).cause == "beyond-the-array"
    assert _unsteady("out", values, "").cause == "state-kept"
