"""The mistakes in an inverted residual that can be told from its results: a cause, what is said, and the flags.

Each is a set of flags of `block.py`. `FORWARD` are those of `block_forward`, `BACKWARD` those of `block_backward` with
a forward that is right. What is said is true of every function with these results, whatever its lines are.
"""

from typing import NamedTuple

from npmnv2.labs.block import BEFORE, OTHER_EPS


class Mistake(NamedTuple):
    """A cause, what is said of it, and what it changes in the block."""

    cause: str
    says: str
    flags: frozenset[str]


def _made(cause: str, says: str, *flags: str) -> Mistake:
    return Mistake(cause, says, frozenset(flags))


AFTER = {1: "the expansion", 2: "the filter", 3: "the projection"}


def _of_norm(k: int) -> list[Mistake]:
    """What can be wrong at batch norm k of the forward."""
    norm = f"the batch norm after {AFTER[k]}"
    found = [
        _made("batchnorm-missing", f"In yours {norm} is left out.", f"norm-missing-{k}"),
        _made(
            "not-normalised",
            f"{norm.capitalize()} must normalise; yours only multiplies by gamma{k} and adds beta{k}.",
            f"statistics-missing-{k}",
        ),
        _made("exchanged", f"In {norm}, yours exchanges gamma{k} and beta{k}.", f"gamma-and-beta-{k}"),
        _made(
            "gamma-forgotten", f"{norm.capitalize()} must multiply by gamma{k}; yours does not.", f"gamma-forgotten-{k}"
        ),
        _made("beta-forgotten", f"{norm.capitalize()} must add beta{k}; yours does not.", f"beta-forgotten-{k}"),
        _made(
            "activation-before-norm",
            f"After {AFTER[k]}, {'the batch norm comes first and ReLU6 second' if k < 3 else 'there is no ReLU6'}; "
            "in yours ReLU6 comes before the batch norm.",
            f"act-first-{k}",
        ),
    ]
    if k == 3:
        return found
    return [
        *found,
        _made(
            "exchanged",
            f"{norm.capitalize()} has gamma{k} and beta{k}; yours takes gamma{3 - k} and beta{3 - k}.",
            f"norm-other-pair-{k}",
        ),
        _made("activation-missing", f"In yours the ReLU6 after {AFTER[k]} is missing.", f"activation-missing-{k}"),
        _made("relu-for-relu6", f"After {AFTER[k]} yours does not cut values above 6.", f"relu-for-relu6-{k}"),
        _made("relu6-wrong", f"After {AFTER[k]} yours does not cut values below 0.", f"cut-at-6-alone-{k}"),
        _made("relu6-wrong", f"After {AFTER[k]} values must be cut at 6; yours cuts them at 1.", f"cut-at-1-{k}"),
        _made(
            "relu6-wrong", f"After {AFTER[k]} values must be cut at 0; yours cuts them at -6.", f"cut-at-minus-6-{k}"
        ),
        _made(
            "activation-missing",
            f"In yours the batch norm and the ReLU6 after {AFTER[k]} are missing.",
            f"norm-missing-{k}",
            f"activation-missing-{k}",
        ),
    ]


def _shortcut_from(step: str) -> Mistake:
    says = f"The shortcut begins at x; in yours it begins at {'ReLU6 of x' if step == 'relu6' else step}."
    return _made("shortcut-misplaced", says, f"shortcut-from-{step}")


FORWARD = [
    _made("shortcut-missing", "x must be added here; in yours nothing is.", "shortcut-missing"),
    _made("shortcut-extra", "With stride 2 nothing is added; in yours every second pixel of x is.", "shortcut-sliced"),
    _made(
        "shortcut-extra", "With C and M not equal nothing is added; in yours some channels of x are.", "shortcut-part"
    ),
    _made("shortcut-factor", "x must be added once; yours adds it twice.", "shortcut-twice"),
    _made("sign", "x must be added; yours subtracts it.", "shortcut-subtracted"),
    _made("shortcut-misplaced", "x must be added after the last batch norm; yours adds it before.", "shortcut-early"),
    _made("activation-at-the-end", "The projection is linear; in yours ReLU6 follows it.", "relu6-at-the-end"),
    _made("activation-at-the-end", "The projection is linear; in yours ReLU follows it.", "relu-at-the-end"),
    _made("activation-at-the-end", "Nothing follows the sum with x; in yours ReLU6 does.", "relu6-after-sum"),
    _made("activation-at-the-end", "Nothing follows the sum with x; in yours ReLU does.", "relu-after-sum"),
    _made("expansion-at-1", "Without expansion the filter sees x; in yours ReLU6 of x.", "relu6-at-1"),
    _made("expansion-at-1", "Without expansion the filter sees x; in yours x is normalised first.", "norm-at-1"),
    _made(
        "expansion-at-1",
        "Without expansion the filter sees x; in yours a batch norm and ReLU6 come before it.",
        "norm-at-1",
        "relu6-at-1",
    ),
    *(mistake for k in (1, 2, 3) for mistake in _of_norm(k)),
    _made("activation-missing", "In yours both ReLU6 are missing.", "activation-missing-1", "activation-missing-2"),
    _made("relu-for-relu6", "Yours does not cut values above 6.", "relu-for-relu6-1", "relu-for-relu6-2"),
    _made("relu6-wrong", "Yours does not cut values below 0.", "cut-at-6-alone-1", "cut-at-6-alone-2"),
    _made("relu6-wrong", "Values must be cut at 6; yours cuts them at 1.", "cut-at-1-1", "cut-at-1-2"),
    _made("relu6-wrong", "Values must be cut at 0; yours cuts them at -6.", "cut-at-minus-6-1", "cut-at-minus-6-2"),
    _made(
        "activation-before-norm",
        "Each batch norm comes first and its ReLU6 second; in yours it is the other way round.",
        "act-first-1",
        "act-first-2",
    ),
    _made(
        "batchnorm-missing",
        "In yours every batch norm is missing.",
        "norm-missing-1",
        "norm-missing-2",
        "norm-missing-3",
    ),
    _made("stride-misplaced", "The filter has the stride; in yours the expansion has it.", "stride-on-expand"),
    _made("stride-misplaced", "The filter has the stride; in yours the projection has it.", "stride-on-project"),
    _made("stride-misplaced", "The filter has the stride; in yours it comes after the last step.", "stride-at-the-end"),
    *(
        _made(
            "shortcut-misplaced",
            f"The shortcut joins the narrow ends; in yours the wide image before the filter is added to {step}{also}.",
            f"shortcut-wide-{place}",
            *flags,
        )
        for place, step in enumerate(("filtered", "filtered_norm", "filtered_act"))
        for also, flags in (("", ("shortcut-missing",)), (", beside x at the end", ()))
    ),
    *map(_shortcut_from, ("filtered_act", "filtered_norm", "filtered", "narrow", "narrow_norm", "relu6")),
    _made("count-minus-one", "The variance must be divided by m; yours is divided by m - 1.", "count-minus-one"),
    *(
        _made("eps-missing", "Epsilon, 1e-5, must be added to the variance; in yours it is missing.", "eps-is-0")
        if eps == "0"
        else _made("eps-wrong", f"Epsilon is 1e-5; yours is {eps}.", f"eps-is-{eps}")
        for eps in OTHER_EPS
    ),
    _made("eps-outside", "Epsilon must be added to the variance, inside the root; yours is outside.", "eps-outside"),
    _made(
        "variance-for-root",
        "The division must be by the root of var + eps; yours is without a root.",
        "variance-for-root",
    ),
    *(
        _made(
            "axes-wrong",
            f"Mean and variance run over images, rows and columns; yours over {said}.",
            f"norm-over-{flag}",
        )
        for flag, said in (
            ("an-image", "rows and columns alone"),
            ("images", "images alone"),
            ("channels", "channels"),
            ("all", "channels as well"),
        )
    ),
    _made(
        "not-normalised",
        "A batch norm must subtract the mean and divide by the root; yours does neither.",
        "not-normalised",
    ),
    _made("other-statistics", "Mean and variance must be those of the batch; yours are 0 and 1.", "running-statistics"),
    _made(
        "kernel-flipped", "In yours the filter is turned round: the last tap sees the first pixel.", "kernel-flipped"
    ),
    _made("kernel-transposed", "In yours the filter's rows and columns are exchanged.", "kernel-transposed"),
]


def _mask(*ks: int) -> list[Mistake]:
    """What can be wrong in the backward of ReLU6 1 or 2, or of both."""
    alone = len(ks) == 1
    before, norm, act = "what is not normalised yet", "what went into it", "what came out of it"
    if alone:
        before, norm, act = f"{BEFORE[ks[0]]} (not yet normalised)", f"{BEFORE[ks[0]]}_norm", f"{BEFORE[ks[0]]}_act"
    must = f"ReLU6's backward lets the gradient through where {norm} is strictly between 0 and 6; yours"
    listed = [
        ("mask-missing", "lets all of it through", "mask-missing"),
        ("mask-of-relu", "lets it through above 6 as well", "mask-of-relu"),
        ("mask-wrong-side", "lets it through below 0 as well", "mask-below-6"),
        ("mask-wrong-side", "lets it through at 6 and above, and nowhere else", "mask-other-side"),
        ("mask-wrong-side", "lets it through at 0 and below, and nowhere else", "mask-below-0"),
        ("mask-wrong-side", "lets it through exactly where it must not", "mask-above-0-and-6"),
        ("mask-of-other", f"looks at {before}", "mask-before-norm"),
        ("mask-of-other", f"looks whether {before} is above 0", "mask-before-norm-of-relu"),
        ("mask-of-other", "looks whether the gradient is above 0", "mask-of-gradient"),
        ("mask-of-other", "looks whether the gradient is between 0 and 6", "mask-of-gradient-6"),
        ("mask-of-other", "is ReLU6 of the gradient", "relu6-of-gradient"),
        ("mask-of-other", f"multiplies it by {act}", "mask-times-value"),
        ("mask-of-other", "lets it through between 0 and 1 alone", "mask-at-1"),
        ("mask-late", "comes after the batch norm's backward, and must come before it", "mask-late"),
    ]
    if alone:
        listed.append(("mask-of-other", f"looks at {BEFORE[3 - ks[0]]}_norm", "mask-of-other"))
    return [_made(cause, f"{must} {said}.", *(f"{flag}-{k}" for k in ks)) for cause, said, flag in listed]


def _norm_back(k: int) -> list[Mistake]:
    """What can be wrong at the backward of batch norm k."""
    step = f"the backward of the batch norm after {AFTER[k]}"
    must = f"{step.capitalize()} needs what went into that batch norm, {BEFORE[k]}; yours has"
    found = [
        _made("norm-of-output", f"{must} what came out of it.", f"norm-of-norm-{k}"),
        _made(
            "gamma-forgotten", f"{step.capitalize()} must multiply by gamma{k}; yours does not.", f"gamma-missing-{k}"
        ),
        _made("exchanged", f"{step.capitalize()} has beta{k} where gamma{k} belongs.", f"gamma-is-beta-{k}"),
        _made("step-missing", f"Yours passes by {step}.", f"norm-passed-by-{k}"),
        _made(
            "std-power",
            f"{step.capitalize()} must divide by the standard deviation; yours does not.",
            f"std-missing-{k}",
        ),
        _made(
            "statistics-constant",
            f"In {step} yours takes the mean and the variance for constants.",
            f"statistics-constant-{k}",
        ),
        _made(
            "mean-term-missing", f"In {step} the term through the mean is missing from yours.", f"mean-term-missing-{k}"
        ),
        _made(
            "variance-term-missing",
            f"In {step} the term through the variance is missing from yours.",
            f"variance-term-missing-{k}",
        ),
        _made(
            "not-normalised",
            f"The gradient of gamma{k} is a sum with xhat; yours with {BEFORE[k]}.",
            f"dgamma-by-x-{k}",
        ),
        _made(
            "not-normalised",
            f"The gradient of gamma{k} is a sum with xhat; yours with {BEFORE[k]}_norm.",
            f"dgamma-by-out-{k}",
        ),
    ]
    if k == 3:
        return found
    return [
        *found,
        _made("norm-of-output", f"{must} {BEFORE[k]}_act.", f"norm-of-act-{k}"),
        _made("exchanged", f"{step.capitalize()} has gamma{3 - k} where gamma{k} belongs.", f"gamma-of-other-{k}"),
    ]


def _wrong_array(of: str, must: str, step: str) -> Mistake:
    says = f"The gradient of {of} is made from {must}, which {of} met; yours from {step}."
    return _made("wrong-array", says, f"{of}-from-{step}")


BACKWARD = [
    _made(
        "shortcut-gradient-missing",
        "x went through the shortcut too, so dout must be added to dx; in yours it is not.",
        "shortcut-missing",
    ),
    _made("shortcut-gradient-only", "x went through the steps too; your dx holds dout alone.", "shortcut-only"),
    _made("shortcut-gradient-factor", "dout must be added to dx once; yours adds it twice.", "shortcut-twice"),
    _made("sign", "dout must be added to dx; yours subtracts it.", "shortcut-subtracted"),
    _made(
        "shortcut-gradient-other",
        "What comes back through the shortcut is dout; yours is what the last batch norm made of it.",
        "shortcut-after-norm",
    ),
    _made(
        "shortcut-gradient-other",
        "What comes back through the shortcut is dout; yours is 0 where out is not between 0 and 6.",
        "shortcut-masked",
    ),
    *(mistake for k in (2, 1) for mistake in _mask(k)),
    *_mask(1, 2),
    *(mistake for k in (3, 2, 1) for mistake in _norm_back(k)),
    *(
        Mistake(a.cause, a.says, a.flags | b.flags | c.flags)
        for a, b, c in zip(*(_norm_back(k)[:10] for k in (3, 2, 1)), strict=True)
    ),
    _made("mask-extra", "There is no ReLU6 at the end; yours masks dout by narrow_norm.", "mask-at-the-end"),
    _made(
        "mask-extra",
        "There is no ReLU6 at the end; yours masks the gradient of narrow by narrow_norm.",
        "mask-at-the-end-late",
    ),
    *(
        _made(
            "image-lost",
            f"The gradient of {of} is a sum over images; yours is that of the {which} one alone.",
            f"{of}-of-{which}-image",
        )
        for of in ("wp", "we")
        for which in ("first", "last")
    ),
    *(_wrong_array("wp", "filtered_act", step) for step in ("filtered_norm", "filtered")),
    *(_wrong_array("wd", "wide_act", step) for step in ("wide_norm", "wide", "filtered_act", "filtered")),
    *(
        _made(
            "wrong-array",
            f"The gradient of {of} is made with the gradient of {step}; yours with that of {later}.",
            f"{of}-{flag}",
        )
        for of, step, later, flag in (
            ("wp", "narrow", "narrow_norm", "early"),
            ("wd", "filtered", "filtered_act", "early"),
            ("wd", "filtered", "filtered_norm", "early-masked"),
            ("we", "wide", "wide_act", "early"),
            ("we", "wide", "wide_norm", "early-masked"),
        )
    ),
    _made("step-missing", "The gradient must go back through the filter; yours passes it by.", "depthwise-passed-by"),
    _made("stride-ignored", "The filter has stride 2 on the way back too; yours takes it to be 1.", "stride-1-back"),
    _made(
        "kernel-flipped",
        "Back through the filter a tap sends to where it looked; yours convolves the gradient with the same filter.",
        "depthwise-unturned",
    ),
    _made("mask-extra", "Without expansion there is no ReLU6 before the filter; yours masks.", "relu6-at-1"),
    _made("averaged", "Gradients are sums; all of yours are divided by the number of images.", "dout-over-N"),
    _made("averaged", "Gradients are sums; all of yours are divided by the number of pixels.", "dout-over-OHOW"),
    _made("averaged", "Gradients are sums; all of yours are divided by the number of values.", "dout-over-pixels"),
    _made("averaged", "Gradients are sums; all of yours are divided by the size of dout.", "dout-over-all"),
]
