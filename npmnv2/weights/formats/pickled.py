"""What the names in a pickle stand for: plain data of our own for tensors, arrays, dictionaries; nothing for others.

`torch_pickle` reads the program and asks here what a call makes. A name is compared with `MAKERS`, as text. What those
make says where numbers lie: in a file beside the pickle (PyTorch), or in the pickle (NumPy). Any other name makes an
`Object`, which keeps what it is given: the arrays of a model that was pickled as a whole lie in its attributes.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from npmnv2.files import MOST_AXES, FormatError, brief, contiguous, itemsize, shown, strided_view

STORAGES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
_NUMPY = {f"{kind[0]}{size}": f"{kind}{8 * size}" for kind in ("int", "uint") for size in (1, 2, 4, 8)}
_NUMPY |= {"f2": "float16", "f4": "float32", "f8": "float64", "b1": "bool"}  # a code in the pickle: NumPy's name
NEEDED = "a state dict needs only OrderedDict, tensors and their storages"


class Global(NamedTuple):
    """The name of a function or class, which stays a name."""

    name: str


class Object:
    """What a name makes that is not known here: what it is made of, its attributes, and of a dictionary its items."""

    __slots__ = ("arguments", "attributes", "name")

    def __init__(self, name: str, arguments: tuple[Any, ...] = ()) -> None:
        self.name = name
        self.arguments = arguments
        self.attributes: dict[Any, Any] | None = None

    def build(self, state: object) -> None:
        """What the pickle sets: the attributes; for a class with slots, they and the slots."""
        if isinstance(state, tuple) and len(state) == 2:
            state = state[0]
        if isinstance(state, dict) and self.attributes is None:
            self.attributes = state

    def fill(self, items: dict[Any, Any]) -> None:
        """Items of something like a dictionary."""
        self.attributes = {} if self.attributes is None else self.attributes
        self.attributes.update(items)


class Storage(NamedTuple):
    """A run of numbers, or a part of one. Tensors are views of storages, and may share them."""

    key: str  # "0", "1", ... in a zip
    dtype: str  # a name of NumPy's, or "bfloat16"
    size: int  # numbers in the whole storage
    location: tuple[int, int]  # the part: its first number, and how many
    content: bytes | bytearray | str | None = None  # in the pickle itself; a str has a letter for each byte (Latin-1)
    big_endian: bool = False  # the content


class Tensor(NamedTuple):
    """Where a tensor lies; all in elements, as PyTorch counts."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def call(function: object, arguments: object) -> Any:
    """What a pickle would call, done here: a few names are known, the results are plain data, or an `Object`.

    Examples
    --------
    >>> call(Global("collections.OrderedDict"), ([("epoch", 3)],))
    {'epoch': 3}
    >>> call(Global("os.system"), ("rm -r /",)).name
    'os.system'
    """
    if not isinstance(function, Global | Object) or not isinstance(arguments, tuple):
        raise FormatError("its pickle is damaged: it calls what is no function")
    if isinstance(function, Object) or function.name not in MAKERS:
        return Object(function.name, arguments)
    made = MAKERS[function.name](arguments)
    if made is None:
        raise FormatError(f"its pickle calls {function.name} with other arguments than its library does")
    return made


def pairs(keys: list[Any], values: list[Any]) -> dict[Any, Any]:
    """A dictionary. Keys that are no names are only numbered: no tensor of a state dict has one.

    The hash of a tuple of tuples of ... would end the process, and integers of equal hash would take hours.
    """
    if len(keys) != len(values):
        raise FormatError("its pickle is damaged: a dictionary has a key without a value")
    made: dict[Any, Any] = {}
    for k, (key, value) in enumerate(zip(keys, values, strict=True)):
        is_plain = isinstance(key, str) or (type(key) is int and 0 <= key < 1 << 31)
        made[key if is_plain else f"{type(key).__name__} {k}"] = value
    return made


# -- Python's own


def _dictionary(arguments: tuple[Any, ...]) -> dict[Any, Any] | None:
    items = arguments[0] if arguments else []
    if len(arguments) > 1 or not isinstance(items, list):
        return None
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in items):
        return None
    made = pairs([pair[0] for pair in items], [pair[1] for pair in items])  # as Python 2 wrote it
    items.clear()  # used up: a long list in the memo would else make thousands of long dictionaries
    return made


def _set(arguments: tuple[Any, ...]) -> list[Any] | None:
    """A set is kept as the list that it is made of."""
    if not arguments:
        return []
    return arguments[0] if len(arguments) == 1 and isinstance(arguments[0], list) else None


def _text_of_bytes(arguments: tuple[Any, ...]) -> str | None:
    """Bytes in a pickle of protocol 2, as a text in Latin-1; it is encoded when an array is made of it."""
    if not arguments:
        return ""
    return arguments[0] if isinstance(arguments[0], str) and arguments[1:] == ("latin1",) else None


# -- PyTorch's


def storage(identity: object) -> Storage | Global:
    """What lies outside of the pickle: ("storage", FloatStorage, "0", "cpu", 6), and in old files None or a part of it.

    Old files have the class of a module so as well, with its source code: ("module", class, file, code).
    """
    if isinstance(identity, tuple) and len(identity) == 4 and identity[0] == "module" and type(identity[1]) is Global:
        return identity[1]
    if not isinstance(identity, tuple) or not 5 <= len(identity) <= 6 or identity[0] != "storage":
        raise FormatError(f"its pickle asks for an object that is no storage; {NEEDED}")
    kind, key, _, size = identity[1:5]
    last = kind.name.rpartition(".")[2] if isinstance(kind, Global) else ""
    if last not in STORAGES or not isinstance(key, str) or type(size) is not int or size < 0:
        raise FormatError("its pickle is damaged: a storage has no type, key or size")
    first, count = 0, size
    if len(identity) == 6 and identity[5] is not None:
        part = identity[5]
        if not isinstance(part, tuple) or len(part) != 3 or not all(type(n) is int and n >= 0 for n in part[1:]):
            raise FormatError("its pickle is damaged: a part of a storage has no place in it")
        first, count = part[1:]
        if first + count > size:
            raise FormatError(f"a part of a storage reaches beyond its {brief((size,))} numbers")
    return Storage(key, STORAGES[last], size, (first, count))


def _tensor(arguments: tuple[Any, ...]) -> Tensor | None:
    if len(arguments) < 4:
        return None
    stored, offset, shape, strides = arguments[:4]  # the others: requires_grad, hooks, conjugation bits
    if not isinstance(stored, Storage) or not isinstance(strides, tuple) or not _is_shape(shape):
        return None
    if len(shape) != len(strides) or not all(type(n) is int for n in (offset, *strides)):
        return None
    return Tensor(stored, offset, shape, strides)


def _is_shape(shape: object) -> bool:
    if not isinstance(shape, tuple) or not all(type(n) is int for n in shape):
        return False
    if len(shape) > MOST_AXES:
        raise FormatError(f"has a tensor of {len(shape)} axes; more than {MOST_AXES} are no weights")
    return True


def _parameter(arguments: tuple[Any, ...]) -> Tensor | Object | None:
    return arguments[0] if arguments and isinstance(arguments[0], Tensor | Object) else None


def _of_a_class(arguments: tuple[Any, ...]) -> Any:
    """A tensor of a class of one's own: a known function, the class, the function's arguments; not this one again."""
    known = len(arguments) >= 3 and isinstance(arguments[0], Global) and arguments[0].name != _OF_A_CLASS
    return call(arguments[0], arguments[2]) if known else None


# -- NumPy's


class NumpyType(Object):
    """A dtype of plain numbers; its byte order is set after it is made."""

    __slots__ = ("big_endian", "dtype")

    def __init__(self, code: str) -> None:
        super().__init__("numpy.dtype")
        self.dtype, self.big_endian = _NUMPY[code], False

    def build(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|"):
            raise FormatError("its pickle is damaged: a dtype has no byte order")
        self.big_endian = state[1] == ">"


class NumpyArray(Object):
    """An array, which is empty until its state is set: (version, shape, dtype, whether columns come first, numbers)."""

    __slots__ = ("tensor",)

    def __init__(self) -> None:
        super().__init__("numpy.ndarray")
        self.tensor: Tensor | None = None

    def build(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not _is_shape(state[1]):
            raise FormatError("its pickle is damaged: an array has no shape, dtype or numbers")
        _, shape, dtype, columns_first, content = state
        if isinstance(dtype, NumpyType):  # else it is of objects, texts, records, ...
            self.tensor = _numbers(content, dtype, shape, bool(columns_first))


def _numbers(content: object, dtype: NumpyType, shape: tuple[int, ...], columns_first: bool = False) -> Tensor:
    """A tensor whose numbers are in the pickle."""
    size = itemsize(dtype.dtype)
    if not isinstance(content, bytes | bytearray | str) or min(shape, default=0) < 0:
        raise FormatError("its pickle is damaged: an array has no numbers")
    count = math.prod(shape)
    if count * size != len(content):
        raise FormatError(f"is damaged: an array of shape {brief(shape)} has {len(content)} bytes")
    stored = Storage("", dtype.dtype, count, (0, count), content, dtype.big_endian)
    return Tensor(stored, 0, shape, contiguous(shape[::-1])[::-1] if columns_first else contiguous(shape))


def _numpy_type(arguments: tuple[Any, ...]) -> Object | None:
    if not arguments:
        return None
    code = arguments[0]
    if isinstance(code, str) and code in _NUMPY:
        return NumpyType(code)
    return Object(f"numpy.dtype of {shown(getattr(code, 'name', str(code)), 30)}")


def _from_buffer(arguments: tuple[Any, ...]) -> Tensor | Object | None:
    """Of protocol 5: (numbers, dtype, shape, "C" or "F"), and of NumPy 2 "K" with the order of the axes."""
    if len(arguments) not in (4, 5):
        return None
    content, dtype, shape, order = arguments[:4]
    if isinstance(dtype, Object) and not isinstance(dtype, NumpyType):
        return dtype
    shape = (shape,) if type(shape) is int else shape
    if not isinstance(dtype, NumpyType) or not _is_shape(shape) or order not in ("C", "F", "K"):
        return None
    made = _numbers(content, dtype, shape, order == "F")
    axes = arguments[4] if len(arguments) == 5 else None
    if order != "K" or axes is None:
        return made
    if not _is_shape(axes) or sorted(axes) != list(range(len(shape))):
        return None
    return made._replace(shape=tuple(shape[a] for a in axes), strides=tuple(made.strides[a] for a in axes))


def _scalar(arguments: tuple[Any, ...]) -> Any:
    """A single number, which is as good as Python's."""
    if len(arguments) != 2 or not isinstance(arguments[0], NumpyType):
        return arguments[0] if arguments and isinstance(arguments[0], Object) else None
    stored = _numbers(arguments[1], arguments[0], ()).storage
    return strided_view(content_of(stored), stored.dtype, (), big_endian=stored.big_endian).item()


def content_of(stored: Storage) -> bytes | bytearray:
    """The bytes of a storage that is in the pickle."""
    assert stored.content is not None
    return stored.content.encode("latin1") if isinstance(stored.content, str) else stored.content


# -- all names that make something

_OF_A_CLASS = "torch._tensor._rebuild_from_type_v2"
Maker = Callable[[tuple[Any, ...]], Any]
MAKERS: dict[str, Maker] = {
    "collections.OrderedDict": _dictionary,
    "collections.defaultdict": lambda arguments: {},
    "_codecs.encode": _text_of_bytes,
    **{
        f"{module}.{name}": maker
        for module in ("builtins", "__builtin__")
        for name, maker in {"dict": _dictionary, "set": _set, "frozenset": _set, "bytes": _text_of_bytes}.items()
    },
    "torch._utils._rebuild_tensor": _tensor,  # before PyTorch 0.4
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    _OF_A_CLASS: _of_a_class,
    "numpy.dtype": _numpy_type,
    "numpy.ndarray": lambda arguments: NumpyArray(),
    **{
        f"numpy.{core}.{name}": maker
        for core in ("core", "_core")  # before NumPy 2, and since
        for name, maker in {
            "multiarray._reconstruct": lambda arguments: NumpyArray(),
            "multiarray.scalar": _scalar,
            "numeric._frombuffer": _from_buffer,
        }.items()
    },
}
