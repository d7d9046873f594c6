"""Loading: a dictionary of arrays into the arrays of a layer, all of it or nothing."""

import difflib
from collections.abc import Mapping

import numpy as np

from npmnv2.nn.parameter import Parameter, Statistic
from npmnv2.validate import Array, check_plain


def load(own: Mapping[str, Parameter | Statistic], state: Mapping[str, Array], who: str) -> None:
    """What `Layer.load_state_dict` does, and raises.

    Parameters
    ----------
    own : mapping of name -> Parameter or Statistic
        What the arrays are copied into: `Layer.state`.
    state : mapping of name -> ndarray
    who : str
        What the errors call the layer.

    Examples
    --------
    >>> part = Statistic(np.zeros(1))
    >>> load({"mean": part}, {"mean": np.ones(1)}, "layer")
    >>> part.value.tolist()
    [1.0]
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"state must be a mapping of names to arrays; was {type(state).__name__}")
    problems = [f"missing: {name}" for name in own if name not in state]
    new = {}
    for name, value in state.items():
        if not isinstance(name, str):
            raise TypeError(f"state must have names that are strings; one was {name!r}")
        if isinstance(value, np.ndarray):
            check_plain(value, f"state[{name!r}]")
        if name not in own:
            near = difflib.get_close_matches(name, own, n=1)
            problems.append(f"unknown: {name}" + (f" (did you mean {near[0]}?)" if near else ""))
        elif not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            was = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
            raise TypeError(f"state[{name!r}] must be an array of floats; was {was}")
        elif value.shape != own[name].value.shape:
            problems.append(f"misshapen: {name} must be {own[name].value.shape}, was {value.shape}")
        else:
            new[name], problem = _converted(value, own[name])
            problems += [f"{problem}: {name}"] if problem else []
    if problems:
        shown = problems[:20] + ([f"... and {len(problems) - 20} more"] if len(problems) > 20 else [])
        raise ValueError(f"state does not fit this {who}:\n  " + "\n  ".join(shown))
    for name, value in new.items():
        own[name].value[...] = value


def _converted(value: Array, part: Parameter | Statistic) -> tuple[Array, str]:
    """A copy of `value` in the dtype of `part`, and why it cannot be loaded there, if it cannot."""
    with np.errstate(over="ignore"):  # it is reported below
        new = value.astype(part.value.dtype)
    if (np.isfinite(value) & ~np.isfinite(new)).any():
        return new, f"too large for {new.dtype}"
    if isinstance(part, Statistic) and (new < part.least).any():
        return new, f"less than {part.least:g}"
    return new, "" if part.value.flags.writeable else "read-only here"
