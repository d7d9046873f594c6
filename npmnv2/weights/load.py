"""From a file to a network."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from npmnv2.data.preprocessing import PREPROCESSING, Preprocessing, lite_preprocessing
from npmnv2.files import FormatError, listed, shown
from npmnv2.models import as_built
from npmnv2.models.network import Network
from npmnv2.validate import Array, check_dtype
from npmnv2.weights.conventions import ANSWERS, published_variant
from npmnv2.weights.neighbours import beside, torchvision_preprocessing
from npmnv2.weights.said import Usual
from npmnv2.weights.source import MOST_LETTERS, Path, Source, read

BUILDERS: dict[str, Any] = {builder.__name__: builder for builder in as_built.BUILDERS.values()}
CLASSIFIER = ["fc.w", "fc.b"]
_PREPROCESSED_AS = {"slim": "hf", "keras_2018": "keras", "tonylins": "torchvision", "d-li14": "torchvision"}


def load_model(path: Path, *, dtype: Any = np.float32) -> Network:
    """Build the network that a file of weights belongs to, and load it.

    Everything comes from the file: the architecture from the names, the width multiplier and the number of classes
    from the shapes, the depth multiplier from the number of blocks, padding, epsilon and the other conventions from the
    library whose names they are. A native file says all of it; from a training run with averaged weights those are
    loaded. A network of 1001 classes keeps them: index 0 is TF-slim's "background".

    Parameters
    ----------
    path : str or path-like
        A native checkpoint (.npz), an ONNX file, or a state dictionary of PyTorch (.pth), a .safetensors file, or
        weights of Keras, with the names of torchvision, timm, Keras, Hugging Face, TF-slim or efficientnet_pytorch.
    dtype : float32 or float64
        Of the network. float16 and bfloat16 in the file become either exactly, float64 becomes float32 by rounding.

    Returns
    -------
    Network
        In eval mode, so that it answers as the saved one did; ``train()`` goes on training. `preprocessing` says how
        its input is made, `labels` what its classes are called, both None where nobody knows.

    Warns
    -----
    UserWarning
        Of what is unusual in the file: where the network and its classifier were found, what was left out, and what the
        file does not say and was assumed. What the libraries write of their own networks gives no warning.

    Raises
    ------
    FormatError
        If the file is damaged, or what it holds is no such network; every name that is missing, unknown or misshapen
        is listed.
    OSError
        If the file cannot be opened.

    Examples
    --------
    >>> import npmnv2, os, tempfile
    >>> from npmnv2.weights import save
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.npz")
    ...     save(npmnv2.mobilenet_v2(10, 0.1, strides="digits", in_channels=1), path)
    ...     load_model(path).config["strides"]
    'digits'
    """
    source = read(path)
    model = build(source, dtype)
    warn(source)
    return model


def build(source: Source, dtype: Any) -> Network:
    """The network that `read` has found. Its shapes have been compared with the file's arrays: it is as large."""
    config = {**source.config, "dtype": check_dtype(dtype)}
    preprocessing, labels = said_of(source)
    try:
        model: Network = BUILDERS[source.architecture](**config)
    except (ValueError, TypeError) as error:
        raise FormatError(f"{source.path}: {shown(str(error), MOST_LETTERS)}") from None
    load_state(model, source.state, source.path)
    model.preprocessing, model.labels = preprocessing, labels
    model.eval()
    return model


def load_into(model: Network, path: Path, partial: bool = False) -> list[str]:
    """Load a file of weights into a network that exists. It warns and raises as `load_model` does.

    Parameters
    ----------
    model : Network
        Of the file's architecture, variant and width multiplier, with its padding and epsilon. Its strides may differ,
        as they do for smaller images.
    path : str or path-like
        As for `load_model`.
    partial : bool
        Whether the classifier (`fc`) may stay as it is where the file has none, or one of another shape: for another
        number of classes, or a Keras model whose own classifier is more than one layer. Everything else must be there,
        always.

    Returns
    -------
    list of str
        The names of the arrays that were left as they were: empty, or the classifier's.

    Raises
    ------
    ValueError
        If the model is of another architecture, width multiplier or number of classes; or if it is another variant or
        has another padding or epsilon than the file's network: it would load, and answer differently. Nothing has been
        changed then.

    Examples
    --------
    >>> import npmnv2, os, tempfile
    >>> from npmnv2.weights import save
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(npmnv2.mobilenet_v2(1000, 0.1), os.path.join(folder, "model.npz"))
    ...     load_into(npmnv2.mobilenet_v2(10, 0.1), os.path.join(folder, "model.npz"), partial=True)
    ['fc.w', 'fc.b']
    """
    if not isinstance(model, Network):
        raise TypeError(f"model must be a network of npmnv2.models; was {type(model).__name__}")
    source = read(path, partial)
    own = model.state_dict()
    found = {name: value.shape for name, value in source.state.items()}
    differ = [name for name in own.keys() | found.keys() if name not in own or own[name].shape != found.get(name)]
    left = CLASSIFIER if partial and differ and set(differ) <= set(CLASSIFIER) else []
    if differ and not left:
        hint = "; partial=True leaves the classifier as it is" if set(differ) <= set(CLASSIFIER) else ""
        file, here = _in_words(source.architecture, source.config), _in_words(architecture(model), model.config)
        raise ValueError(f"{source.path}: holds a {file}; the model is a {here}{hint}")
    for name in ANSWERS:
        if model.config.get(name) != source.config.get(name):  # a MobileNetV1 has no variant
            raise ValueError(
                f"{name} must be {source.config[name]!r}, which the network of {source.path} was trained with; "
                f"the model has {model.config[name]!r}"
            )
    preprocessing, labels = said_of(source)
    load_state(model, {**source.state, **{name: own[name] for name in left}}, source.path)
    model.preprocessing = preprocessing
    if not left:
        model.labels = labels
    warn(source)
    return list(left)


def architecture(model: Network) -> str:
    """The name of the builder that made a network."""
    return as_built.builder_of(model).__name__


def explain(source: Source) -> list[str]:
    """What a file was found to be, and what in it was found, left out and assumed, a line each.

    Examples
    --------
    >>> state = {"fc.w": np.zeros((1280, 2))}
    >>> config = {"width_mult": 1.0, "num_classes": 2, "in_channels": 3, "padding": 1, "eps": 1e-5}
    >>> found = ("under net", "the classifier is head.weight, without a bias: it is 0 here")
    >>> print(*explain(Source("a.pth", "pth", "timm", "mobilenet_v2", config, state, {}, found=found)), sep="\\n")
    a.pth: mobilenet_v2 of width 1 for images of 3 channels and 2 classes
      container: pth, names: timm; from these follow padding 1 and epsilon 1e-05
      found: under net
      found: the classifier is head.weight, without a bias: it is 0 here
    """
    config, lines = source.config, [f"{source.path}: {_in_words(source.architecture, source.config)}"]
    if "fc.w" not in source.state:
        lines = [f"{source.path}: {source.architecture} of width {config['width_mult']:g}, without a classifier"]
    follow = "the file says" if source.describes_itself else "from these follow"
    conventions = f"{follow} padding {config['padding']} and epsilon {config['eps']:g}"
    lines.append(f"  container: {source.container}, names: {source.names}; {conventions}")
    return lines + [f"  {what}: {sentence}" for what, said in _said(source).items() for sentence in said]


def notes(source: Source) -> list[str]:
    """Of the same, what is not so in every file of its library: a line of what was found, left out and assumed each.

    Examples
    --------
    >>> left_out = (Usual("single numbers that no network needs: num_batches_tracked (52)"),)
    >>> found = ("under net", Usual("the classifier is classifier.weight"))
    >>> notes(Source("a.pth", "pth", "timm", "mobilenet_v2", {}, {}, {}, (), left_out, found))
    ['a.pth: found: under net']
    """
    unusual = {what: [text for text in said if not isinstance(text, Usual)] for what, said in _said(source).items()}
    why = {"assumed": ", since the file does not say it"}
    return [f"{source.path}: {what}{why.get(what, '')}: {'; '.join(said)}" for what, said in unusual.items() if said]


def warn(source: Source) -> None:
    """Warn of what `notes` says, in the line that called the caller."""
    for line in notes(source):
        warnings.warn(line, stacklevel=3)


def _said(source: Source) -> dict[str, tuple[str, ...]]:
    return {
        "found": (*source.found, *_not_finite(source.state)),
        "left out": source.left_out,
        "assumed": source.assumed,
    }


def _not_finite(state: Mapping[str, Array]) -> list[str]:
    """A sentence on values that nobody wants, which otherwise only the answers would show."""
    counts = {name: array.size - np.count_nonzero(np.isfinite(array)) for name, array in state.items()}
    where = listed([f"{name} ({count})" for name, count in counts.items() if count])
    return [f"NaN or infinite values in {where}"] if where else []


def _in_words(architecture: str, config: Mapping[str, Any]) -> str:
    width, channels, classes = (config[name] for name in ("width_mult", "in_channels", "num_classes"))
    depth = f", depth {config['depth_mult']:g}," if "depth_mult" in config else ""
    return f"{architecture} of width {width:g}{depth} for images of {channels} channels and {classes} classes"


def load_state(model: Network, state: Mapping[str, Array], path: str) -> None:
    """`model.load_state_dict`; what is wrong with the numbers is wrong with the file."""
    try:
        model.load_state_dict(state)
    except (ValueError, TypeError) as error:  # a negative variance, a number that is too large, ...
        raise FormatError(f"{path}: {error}") from None


def said_of(source: Source) -> tuple[Preprocessing | None, list[str] | None]:
    """What is said about the network's input and its classes."""
    try:
        return _input(source), _labels(source)
    except (ValueError, TypeError) as error:
        raise FormatError(f"{source.path}: {shown(str(error), MOST_LETTERS)}") from None


def _input(source: Source) -> Preprocessing | None:
    """How the input was made: as the file says, or as the library does it."""
    said, config = source.info.get("preprocessing"), source.config
    if said is not None:
        made, channels = Preprocessing.from_dict(said), config["in_channels"]
        if made.channels != channels:
            raise ValueError(f"preprocessing must give the network's {channels} channels; was for {made.channels}")
        return made
    if source.describes_itself:
        return None
    if source.names == "efficientnet_pytorch":
        variant = published_variant(config["width_mult"], config["depth_mult"])
        return lite_preprocessing(variant.resolution) if variant and config["in_channels"] == 3 else None
    known = beside(source.path, source.names, config["num_classes"]).preprocessing
    if known is None and source.names == "torchvision":
        known = torchvision_preprocessing(source.path)
    elif known is None:
        known = PREPROCESSING[_PREPROCESSED_AS.get(source.names, source.names)]
        if (source.names, source.architecture) == ("timm", "mobilenet_v1"):  # trained later, with a recipe of its own
            known = known._replace(mean=(0.5,), std=(0.5,))
    return known.for_channels(config["in_channels"])


def _labels(source: Source) -> list[str] | None:
    said = source.info.get("labels")
    if said is None:
        return beside(source.path, source.names, source.config["num_classes"]).labels
    if not isinstance(said, list) or not all(isinstance(label, str) for label in said):
        raise ValueError('info["labels"] must be a list of strings')
    classes = max(2, source.config["num_classes"])  # one output is a yes or no
    if len(said) != classes:
        raise ValueError(f'info["labels"] must name {classes} classes; names {len(said)}')
    return said
