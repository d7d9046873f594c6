"""Which network the arrays of a file are: by their names, whatever stands before them, or by their order and shapes.

The backbone is recognised alone. What belongs to it is `Found.known`; the classifier is looked for in the rest of the
arrays (`head`). Numbers are not looked at, only names and shapes.
"""

import functools
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from npmnv2.files import FormatError, listed, shown
from npmnv2.shapes import LARGEST
from npmnv2.weights.conventions import CONVENTIONS, as_published, find_depth, find_width, lacks_shortcut, nearest_width
from npmnv2.weights.names import Entry, bare_entries, layer_of, schemes, shape_there, shapes
from npmnv2.weights.said import Usual
from npmnv2.weights.tables import COUNTER, LEAVES, PYTORCH

Scheme = tuple[str, str]  # (architecture, names)
AVERAGES = {"ema", "swa", "avg", "average", "averaged", "shadow"}  # in what a moving average of the weights is called
# What counts, of floats too: those of a profiler, and PyTorch's where all of a file was made float16.
COUNTED = (COUNTER[1:], "total_ops", "total_params")
LEAST = 0.5  # the part of a backbone's names that must be there
_NUMBER = re.compile(r"(\d+)")
_BLOCK = re.compile(r"_blocks\.(\d{1,4})\.")  # of the names of efficientnet_pytorch


class Match(NamedTuple):
    """A backbone in a file."""

    scheme: Scheme
    place: str  # the keys of the dictionary that holds it
    prefix: str  # what stands before its names there
    share: float  # of its names that are there

    @property
    def where(self) -> str:
        """For a sentence: the place and the prefix."""
        return shown(".".join(filter(None, (self.place, self.prefix)))) or "the whole"

    @property
    def is_average(self) -> bool:
        """Whether it is called a moving average of other weights."""
        return bool(AVERAGES & set(re.split(r"[^a-z]+", self.where.lower())))


class Found(NamedTuple):
    """A backbone, and what of the file it is."""

    architecture: str
    names: str  # of which library
    depth: float  # depth multiplier
    known: list[Entry]  # of the backbone, in its order, under the names of the file
    beside: list[str]  # the names of the other arrays
    notes: tuple[str, ...] = ()  # what was found, a sentence each
    assumed: tuple[str, ...] = ()  # what was guessed
    left_out: tuple[str, ...] = ()  # other networks that were passed over


def choose(places: Mapping[str, Mapping[str, Any]], among: Iterable[Scheme]) -> str:
    """The place that holds a network, for `torch_file.read_whole`; that with the most arrays if no name is known."""
    matches = [match for place, arrays in places.items() for match in _matches(place, arrays, among)]
    return _best(matches, places)[0].place if matches else max(places, key=lambda place: len(places[place]))


def recognise(arrays: Mapping[str, Any], among: Collection[Scheme], place: str = "") -> Found | None:
    """The one backbone among the arrays, which lie at a place in the file; None if there is none.

    Several are an error that lists all.

    Examples
    --------
    >>> names = [entry.theirs for entry in bare_entries("mobilenet_v1", "timm")]
    >>> found = recognise(dict.fromkeys(["net." + name for name in names] + ["out.weight"]), schemes())
    >>> found.architecture, found.names, found.known[0].theirs, found.beside
    ('mobilenet_v1', 'timm', 'net.conv_stem.weight', ['out.weight'])
    """
    matches = _matches(place, arrays, among)
    if not matches:
        return _in_order(arrays, among)
    best, passed = _best(matches, {place: arrays})
    architecture, names = best.scheme
    depth = 1.0
    if architecture == "efficientnet_lite":
        blocks = [_BLOCK.match(name, len(best.prefix)) for name in arrays if name.startswith(best.prefix)]
        depth = find_depth(1 + max((int(block[1]) for block in blocks if block), default=-1))
    known = [e._replace(theirs=best.prefix + e.theirs) for e in bare_entries(architecture, names, depth)]
    taken = {entry.theirs for entry in known}
    others = tuple(match.prefix for match in passed if match.place == place)
    beside = [n for n in arrays if n not in taken and not (others and n.startswith(others))]
    notes = [f"under {shown(place)}"] if place else []
    if best.prefix:
        is_usual = names == "hf" and best.prefix == f"{architecture}."  # before the backbone alone
        notes.append((Usual if is_usual else str)(f"behind the prefix {shown(best.prefix)}"))
    left_out = (f"another network, or an average of this one, behind {listed(map(shown, others))}",) if others else ()
    return Found(architecture, names, depth, known, beside, tuple(notes), (), left_out)


@functools.cache
def _owners() -> tuple[dict[str, list[Scheme]], int]:
    """Whose name it is, for every name of a backbone; and how long the longest is."""
    found: dict[str, list[Scheme]] = {}
    for scheme in schemes():
        for entry in bare_entries(*scheme):
            found.setdefault(entry.theirs, []).append(scheme)
    return found, max(map(len, found))


def _matches(place: str, names: Iterable[str], among: Iterable[Scheme]) -> list[Match]:
    """Every prefix behind which there is a backbone, with the library whose names the most are."""
    among, (owners, longest), counts = set(among), _owners(), Counter[tuple[str, Scheme]]()
    for name in names:
        for start in _starts(name, longest):
            for scheme in owners.get(name[start:], ()):
                counts[name[:start], scheme] += 1
    best: dict[str, Match] = {}
    for (prefix, scheme), count in counts.items():
        match = Match(scheme, place, prefix, count / len(bare_entries(*scheme)))
        is_better = prefix not in best or match.share > best[prefix].share
        if scheme in among and match.share >= LEAST and is_better:
            best[prefix] = match
    return list(best.values())


def _starts(name: str, longest: int) -> list[int]:
    """Where in a name one of a library's may begin: behind a point, a slash or an underscore."""
    return [k for k in range(max(0, len(name) - longest), len(name)) if k == 0 or name[k - 1] in "./_"]


def _best(matches: list[Match], places: Mapping[str, Mapping[str, Any]]) -> tuple[Match, list[Match]]:
    """The one to be read, and those passed over: averages where there are other weights, and the same arrays again."""
    plain = [match for match in matches if not match.is_average] or matches
    whole = [match for match in plain if match.share == 1] or plain
    best = max(whole, key=lambda match: match.share)
    if all(_same(best, other, places) for other in whole):
        return best, [match for match in matches if match is not best]
    networks = listed(f"{match.where} ({match.scheme[0]})" for match in whole)
    raise FormatError(f"holds {len(whole)} networks: {networks}; save the one that is meant in a file by itself")


def _same(one: Match, other: Match, places: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether two are the same tensors of a .pth, which may be referred to twice."""
    if one == other:
        return True
    if one.scheme != other.scheme or one.place == other.place:
        return False
    here, there = places[one.place], places[other.place]
    names = [entry.theirs for entry in bare_entries(*one.scheme)]
    return all(here.get(one.prefix + name) == there.get(other.prefix + name) for name in names)


def without_counters(arrays: Mapping[str, Any], found: Found) -> tuple[Found, list[str]]:
    """The same without the numbers that training leaves beside a network, and sentences about them.

    Such are PyTorch's count of updates of a batch norm, a profiler's totals, how many weights an average is of, the
    counts of answers that a metric keeps.

    Examples
    --------
    >>> arrays = {"fc.weight": np.zeros((5, 8)), "fc.bias": np.zeros(5), "fc.total_ops": np.zeros(1)}
    >>> found, said = without_counters(arrays, Found("mobilenet_v2", "timm", 1.0, [], list(arrays)))
    >>> found.beside, said
    (['fc.weight', 'fc.bias'], ['single numbers that no network needs: total_ops (1)'])
    """
    single = [name for name in found.beside if math.prod(arrays[name].shape) == 1]
    counters = {name for name in single if arrays[name].dtype.kind in "iub" or _leaf(name) in COUNTED}
    counts = Counter(map(_leaf, sorted(counters)))
    numbers = listed(f"{shown(leaf)} ({count})" for leaf, count in counts.most_common())
    is_usual = counts.keys() <= {COUNTER[1:]}
    said = (Usual if is_usual else str)(f"single numbers that no network needs: {numbers}")
    with_floats = {layer_of(name) for name in arrays if arrays[name].dtype.kind not in "iub"}
    integers = [n for n in found.beside if n not in counters and layer_of(n) not in with_floats]
    whole = f"integers in layers of nothing else, as a metric keeps them: {listed(map(shown, integers))}"
    beside = [name for name in found.beside if name not in counters and name not in integers]
    return found._replace(beside=beside), [said] * bool(counters) + [whole] * bool(integers)


COMPUTED = {  # names of what PyTorch computes weights from, and how to keep the weights instead
    r"_mask$": "pruned: before saving, call torch.nn.utils.prune.remove(module, 'weight')",
    r"\.parametrizations\.": "parametrised: before saving, call "
    "torch.nn.utils.parametrize.remove_parametrizations(module, 'weight')",
    r"weight_g$": "normalised: before saving, call torch.nn.utils.remove_weight_norm(module)",
    r"weight_u$": "normalised: before saving, call torch.nn.utils.remove_spectral_norm(module)",
    r"lora_a\b": "adapted by LoRA: before saving, merge the adapters into the weights (of peft: merge_and_unload())",
    r"fake_quant|activation_post_process": "prepared for quantisation: load the file of the float network",
}


def computed(names: Iterable[str]) -> str:
    """Why the weights themselves are not in a file, if it has what they are computed from; else ""."""
    for pattern, what in COMPUTED.items():
        for name in names:
            if re.search(pattern, name.lower()):
                return f"has, in {shown(name)}, weights that are {what}"
    return ""


def measured(arrays: Mapping[str, Any], known: Iterable[Entry]) -> tuple[dict[str, int], int]:
    """The output channels of a backbone's convolutions by layer, and its image's; what is missing is left out."""
    counts: dict[str, int] = {}
    in_channels = 3
    for entry in known:
        layer, _, leaf = entry.ours.rpartition(".")
        if leaf != "w":
            continue
        try:
            shape = entry.to_ours(arrays[entry.theirs]).shape
        except (KeyError, IndexError, ValueError):  # missing or of another rank: reported when all is compared
            continue
        if len(shape) > 1:
            counts[layer.removesuffix(".conv")] = shape[-1]
            if layer == "stem.conv" and len(shape) == 4:
                in_channels = shape[2]
    return counts, in_channels


_A = {"mobilenet_v2": "a MobileNetV2", "efficientnet_lite": "an EfficientNet-Lite"}


def config_of(arrays: Mapping[str, Any], found: Found) -> dict[str, Any]:
    """The builder's arguments from the names and the shapes; all shapes are compared with them later."""
    architecture, names, depth = found.architecture, found.names, found.depth
    counts, in_channels = measured(arrays, found.known)
    width = find_width(architecture, counts, depth) or nearest_width(architecture, counts, depth)
    if block := lacks_shortcut(names, architecture, width):
        whose = {"hf": "Hugging Face"}.get(names, names)
        raise FormatError(
            f"holds a network of {whose} of width {width:g}, which lacks the shortcut around {block} that "
            f"{_A[architecture]} has at that width"
        )
    arguments = {"num_classes": 1000, "width_mult": width, "strides": "imagenet", "in_channels": in_channels}
    arguments |= CONVENTIONS[names, architecture]
    return as_published({**arguments, "depth_mult": depth} if architecture == "efficientnet_lite" else arguments)


# -- timm's other designs

_TIMM_ROW = re.compile(r"blocks\.(\d{1,3})\.(\d{1,3})\.")
_TIMM: dict[tuple[int, ...], str] = {  # what timm calls them, by the number of blocks in their rows
    (1, 3, 4, 5, 4, 4, 1): "mobilenetv2_110d, whose rows are 1.2 times as deep",
    (1, 3, 5, 6, 5, 5, 1): "mobilenetv2_120d, whose rows are 1.4 times as deep",
    (1, 2, 2, 3, 3, 4, 1): "efficientnet_lite0",
    (1, 3, 3, 4, 4, 5, 1): "efficientnet_lite1 or 2",
    (1, 3, 3, 5, 5, 6, 1): "efficientnet_lite3",
    (1, 4, 4, 6, 6, 8, 1): "efficientnet_lite4",
}
_LITE = "; its names do not say which padding it has: efficientnet_lite_pytorch's files of an EfficientNet-Lite load"
LOADED = "mobilenetv2_035, _050, _075, _100, _140, mobilenetv1_100 and _125"  # of timm's models


def check_design(arrays: Iterable[str], found: Found) -> None:
    """Raise the error that says what differs, if a network under timm's names is of a design that no network here has.

    timm builds many networks of the same parts, under the same names: deeper ones, others with a layer more.
    """
    if found.names != "timm":
        return
    prefix = found.known[0].theirs.removesuffix("conv_stem.weight")
    here = _rows(entry.theirs.removeprefix(prefix) for entry in found.known)
    there = _rows(name.removeprefix(prefix) for name in arrays if name.startswith(prefix))
    own = f"where a {found.architecture} has {', '.join(map(str, here))}"
    loaded = f"of timm's models {LOADED} load"
    if there in _TIMM or len(there) > len(here) or any(n > most for n, most in zip(there, here, strict=False)):
        name = _TIMM.get(there, "")
        is_called = f" ({name})" if name else ""
        counts = listed(map(str, there), 12)
        lite = _LITE if name.startswith("efficientnet") else ""
        raise FormatError(f"holds a network of timm{is_called} with {counts} blocks in its rows, {own}; {loaded}{lite}")
    if found.architecture == "mobilenet_v1" and f"{prefix}conv_head.weight" in found.beside:
        raise FormatError(
            f"holds a network of timm (mobilenetv1_100h) with a convolution conv_head behind its blocks, which a "
            f"mobilenet_v1 has not; {loaded}"
        )


def _rows(names: Iterable[str]) -> tuple[int, ...]:
    """How many blocks each row has, of timm's names."""
    counts: dict[int, int] = {}
    for name in names:
        if block := _TIMM_ROW.match(name):
            row, repeat = int(block[1]), int(block[2])
            counts[row] = max(counts.get(row, 0), repeat + 1)
    return tuple(counts.get(row, 0) for row in range(max(counts, default=-1) + 1))


# -- without names


_IN_ORDER = {  # whose conventions a network has that is recognised by its order
    ("mobilenet_v2", "torchvision"): "PyTorch",
    ("mobilenet_v1", "timm"): "PyTorch",
    ("mobilenet_v2", "keras"): "Keras",
    ("mobilenet_v1", "keras"): "Keras",
}
_LEAF_NAMES = [leaf[1:] for names in ("torchvision", "keras") for leaf in LEAVES[names].values()]  # in their order


def _in_order(arrays: Mapping[str, Any], among: Collection[Scheme]) -> Found | None:
    """The backbone whose arrays, one after the other, have the shapes of the file's; its names may be any."""
    orders = {"in the order of the file": list(arrays), "sorted by name": sorted(arrays, key=_natural)}
    for order, names in orders.items():
        for scheme in among:
            if scheme in _IN_ORDER and (known := _fitting(arrays, names, scheme)):
                taken = {entry.theirs for entry in known}
                said = f"no library's names are known in the file: its arrays were taken {order}, by their shapes"
                guess = f"padding and epsilon are those that {_IN_ORDER[scheme]}'s networks have: no name says it"
                return Found(*scheme, 1.0, known, [name for name in arrays if name not in taken], (), (said, guess))
    return None


def _leaf(name: str) -> str:
    return re.split(r"[./]", name)[-1]


def _natural(name: str) -> tuple[list[Any], int]:
    """Sorts layers with numbers in their names as numbers, and the arrays of a layer as its library does."""
    layer, leaf = layer_of(name), _leaf(name)
    parts = [int(part[:9]) if k % 2 else part for k, part in enumerate(_NUMBER.split(layer))]
    return parts, _LEAF_NAMES.index(leaf) if leaf in _LEAF_NAMES else -1


def _fitting(arrays: Mapping[str, Any], names: list[str], scheme: Scheme) -> list[Entry]:
    """The entries of a backbone under these names, if leaves and shapes are its; else nothing.

    Keras may count the layers of each class by themselves, so each has an order of its own.
    """
    is_keras = LEAVES[scheme[1]] is not PYTORCH
    queues: dict[tuple[str, bool], list[str]] = {}
    for name in names:
        shape = tuple(arrays[name].shape)
        if len(shape) in (1, 4):
            is_depthwise = is_keras and len(shape) == 4 and shape[3] == 1 and shape[:2] != (1, 1)
            queues.setdefault((_leaf(name), is_depthwise), []).append(name)
    waiting = {key: iter(queue) for key, queue in queues.items()}
    known = []
    for entry in bare_entries(*scheme):
        key = _leaf(entry.theirs), is_keras and entry.ours.endswith("dw.conv.w")
        there = next(waiting.get(key, iter(())), None)
        if there is None:
            return []
        known.append(entry._replace(theirs=there))
    counts, in_channels = measured(arrays, known)
    width = find_width(scheme[0], counts)
    if width is None or not 0 < in_channels <= LARGEST:
        return []
    config = {"num_classes": 1, "width_mult": width, "strides": "imagenet", "in_channels": in_channels}
    wanted = shapes(scheme[0], config)
    return known if all(tuple(arrays[e.theirs].shape) == shape_there(e, wanted[e.ours]) for e in known) else []
