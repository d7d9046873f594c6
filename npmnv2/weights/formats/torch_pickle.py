"""The pickle inside a .pth, read without running it.

A pickle is a program for a small stack machine: "push this string", "make a tuple of the last three", "call that
function". `pickle.load` runs it, and the file chooses the function: `os.system` is as good as any. So here is a machine
of our own. The standard library (`pickletools.genops`) only takes the program apart, into pairs of an operation and its
argument:

    GLOBAL      'torch._utils _rebuild_tensor_v2'   push a function, by its name
    MARK                                            its arguments begin
      MARK
        BINUNICODE 'storage', GLOBAL 'torch FloatStorage', BINUNICODE '0', BINUNICODE 'cpu', BININT1 6
      TUPLE, BINPERSID                              what lies outside the pickle: storage '0', six float32 numbers
      BININT1 0                                     the tensor begins at its first number
      BININT1 3, BININT1 2, TUPLE2                  and has the shape (3, 2)
      BININT1 2, BININT1 1, TUPLE2                  and the strides (2, 1), in elements
      NEWFALSE, ...                                 it needs no gradient, and has no hooks
    TUPLE                                           its arguments end
    REDUCE                                          call it

A name is never looked up: `_rebuild_tensor_v2` is known here as text, and calling it makes a `Tensor`, a few numbers
that say where the tensor lies. Every other name makes nothing (`DROPPED`), whatever is done with it, and is listed:
training scripts save their options, schedules and versions beside the weights, and a name that is never looked up does
no harm whichever it is. What a program can build is bounded too: it has a most number of steps, a step adds at most one
object, and nothing here calls itself.
"""

import pickletools
from typing import Any, BinaryIO, NamedTuple

from npmnv2.weights.errors import FormatError
from npmnv2.weights.formats.raw import MOST_AXES, brief, shown

PICKLE_BYTES = 1 << 22  # with room for some ten thousand tensors; MobileNetV2 has 314, in 30 kB
STEPS = 250_000  # likewise: a tensor takes about 25
MOST_DROPPED = 20  # names that are listed
INTEGER_BITS = 128  # as large as the numbers in the states of random generators are

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
STORAGE_MODULES = ("torch", "torch.cuda", "torch.storage")

# Called, these make what a state dict is made of.
_DICTIONARIES = ("collections.OrderedDict", "collections.defaultdict", "builtins.dict", "__builtin__.dict")
MAKERS = (
    *_DICTIONARIES,
    "torch._utils._rebuild_tensor",  # before PyTorch 0.4
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch._tensor._rebuild_from_type_v2",  # of a class of one's own that is a tensor
)
NEEDED = "a state dict needs only OrderedDict, tensors and their storages"

_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
_TEXTS = ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
_TEXTS_OF_PYTHON_2 = ("BINSTRING", "SHORT_BINSTRING")
_PUSH_ARGUMENT = frozenset(_NUMBERS + _TEXTS + _TEXTS_OF_PYTHON_2)
_PUSH_CONSTANT = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Global(NamedTuple):
    """The name of a function or class, which stays a name."""

    name: str


class Dropped:
    """Something of no use to a network; `DROPPED` is the only one."""


DROPPED = Dropped()


class Storage(NamedTuple):
    """A run of numbers outside the pickle, or a part of one. Tensors are views of storages, and may share them."""

    key: str  # "0", "1", ... in a zip
    dtype: str  # a name of NumPy's, or "bfloat16"
    size: int  # numbers in the whole storage
    location: tuple[int, int]  # the part: its first number, and how many


class Tensor(NamedTuple):
    """Where a tensor lies; all in elements, as PyTorch counts."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Loaded(NamedTuple):
    """What a pickle holds."""

    value: Any  # dict, list, tuple, str, int, float, bool, None, Tensor, Storage, Global or DROPPED
    storages: list[Storage]  # every one that was asked for, as often as it was
    dropped: list[str]  # the names that it asks for and that no state dict needs, `MOST_DROPPED` of them


def load(file: BinaryIO) -> Loaded:
    """Read one pickle, to its end and no further.

    Parameters
    ----------
    file : binary file
        Of at most `PICKLE_BYTES`.

    Returns
    -------
    Loaded

    Raises
    ------
    FormatError
        For an operation that no state dict needs, or too large a program.
    ValueError
        Of `pickletools`, for what is no pickle.

    Examples
    --------
    >>> import io, pickle
    >>> load(io.BytesIO(pickle.dumps({"epoch": 3, "rates": [0.1, 0.01]})))
    Loaded(value={'epoch': 3, 'rates': [0.1, 0.01]}, storages=[], dropped=[])
    >>> load(io.BytesIO(pickle.dumps({"log": print}))).dropped
    ['builtins.print']
    """
    machine = _Machine()
    for steps, (operation, argument, _) in enumerate(pickletools.genops(file)):
        if steps == STEPS:
            raise FormatError(f"its pickle has more than {STEPS} steps; {NEEDED}")
        machine.step(operation.name, argument)
    return Loaded(machine.pop(), machine.storages, list(machine.dropped))


class _Machine:
    """The stack, the marks in it, and the memo: objects that are used again, by number."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []  # heights of the stack
        self.memo: dict[int, Any] = {}
        self.storages: list[Storage] = []
        self.dropped: dict[str, None] = {}  # names, in order

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise FormatError("its pickle is damaged: it takes what it did not put down")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        if not self.marks:
            raise FormatError("its pickle is damaged: it ends what it did not begin")
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def step(self, operation: str, argument: Any) -> None:
        """One operation. Those that make a container, fill one, or call come further below."""
        if operation in _PUSH_ARGUMENT:
            if isinstance(argument, int) and argument.bit_length() > INTEGER_BITS:
                raise FormatError(f"its pickle has an integer of {argument.bit_length()} bits; {NEEDED}")
            self.stack.append(argument)
        elif operation in _PUSH_CONSTANT:
            self.stack.append(_PUSH_CONSTANT[operation])
        elif operation in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            top = self.pop()
            self.memo[len(self.memo) if argument is None else argument] = top
            self.stack.append(top)
        elif operation in ("BINGET", "LONG_BINGET"):
            if argument not in self.memo:
                raise FormatError(f"its pickle is damaged: it uses object {argument}, which there is not")
            self.stack.append(self.memo[argument])
        elif operation == "MARK":
            self.marks.append(len(self.stack))
        elif operation in _TUPLES:
            self.stack.append(tuple(reversed([self.pop() for _ in range(_TUPLES[operation])])))
        elif operation == "TUPLE":
            self.stack.append(tuple(self.pop_to_mark()))
        elif operation in ("EMPTY_DICT", "EMPTY_LIST"):
            self.stack.append({} if operation == "EMPTY_DICT" else [])
        elif operation == "EMPTY_SET":
            self.stack.append(DROPPED)
        elif operation not in ("PROTO", "FRAME", "STOP"):
            self.step_of_a_container(operation, argument)

    def step_of_a_container(self, operation: str, argument: Any) -> None:
        if operation in ("SETITEM", "SETITEMS"):
            items = [self.pop(), self.pop()][::-1] if operation == "SETITEM" else self.pop_to_mark()
            self.fill(dict, _pairs(items[::2], items[1::2]))
        elif operation in ("APPEND", "APPENDS"):
            self.fill(list, [self.pop()] if operation == "APPEND" else self.pop_to_mark())
        elif operation == "ADDITEMS":
            self.fill(set, self.pop_to_mark())
        elif operation == "FROZENSET":
            self.pop_to_mark()
            self.stack.append(DROPPED)
        elif operation == "GLOBAL":
            self.name(argument.replace(" ", ".", 1))
        elif operation == "STACK_GLOBAL":
            name, module = self.pop(), self.pop()
            self.name(f"{_text(module)}.{_text(name)}")
        elif operation in ("REDUCE", "NEWOBJ", "NEWOBJ_EX"):
            if operation == "NEWOBJ_EX":
                self.pop()  # arguments by keyword, which nothing known here has
            arguments, function = self.pop(), self.pop()
            self.stack.append(_call(function, arguments))
        elif operation == "BUILD":  # attributes: an OrderedDict's _metadata, a Namespace's all
            self.pop()
            if not isinstance(self.stack[-1] if self.stack else None, dict | Dropped):
                raise FormatError(f"its pickle sets attributes of something that has none; {NEEDED}")
        elif operation == "BINPERSID":
            storage = _storage(self.pop())
            self.storages.append(storage)
            self.stack.append(storage)
        else:
            raise FormatError(f"its pickle uses the operation {operation}; {NEEDED}")

    def name(self, name: str) -> None:
        """Push a name, and remember one that nothing here makes anything of."""
        module, _, last = name.rpartition(".")
        is_storage = module in STORAGE_MODULES and last.endswith("Storage")
        if is_storage and last not in STORAGES:
            raise FormatError(f"holds a tensor of {shown(last)}; known are {', '.join(STORAGES)}{_quantised(last)}")
        if name not in MAKERS and not is_storage and len(self.dropped) < MOST_DROPPED:
            self.dropped[shown(name)] = None
        self.stack.append(Global(name))

    def fill(self, kind: type, items: Any) -> None:
        target = self.pop()
        self.stack.append(target)
        if isinstance(target, dict) and kind is dict:
            target.update(items)
        elif isinstance(target, list) and kind is list:
            target.extend(items)
        elif target is not DROPPED:
            raise FormatError("its pickle is damaged: it puts something into what holds nothing")


def _quantised(storage: str) -> str:
    return ". The network is quantised: load the file of the float network that it was made from" * storage.startswith(
        "Q"
    )


def _call(function: object, arguments: object) -> Any:
    """What REDUCE would call, done here: a few names are known, the results are plain data, or nothing."""
    if function is DROPPED:
        return DROPPED
    if not isinstance(function, Global) or not isinstance(arguments, tuple):
        raise FormatError("its pickle is damaged: it calls what is no function")
    if function.name not in MAKERS:
        return DROPPED
    if function.name == "collections.defaultdict":
        return {}
    if function.name in _DICTIONARIES and len(arguments) <= 1:
        pairs = arguments[0] if arguments else []
        if isinstance(pairs, list) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
            made = _pairs([pair[0] for pair in pairs], [pair[1] for pair in pairs])  # as Python 2 wrote it
            pairs.clear()  # used up: a long list in the memo would else make thousands of long dictionaries
            return made
    elif function.name == "torch._tensor._rebuild_from_type_v2" and len(arguments) >= 3:
        inner = arguments[0]  # a known function, its arguments third; not this one again
        if isinstance(inner, Global) and inner.name != function.name:
            return _call(inner, arguments[2])
    elif function.name.startswith("torch._utils._rebuild_parameter") and arguments and arguments[0] is DROPPED:
        return DROPPED
    elif function.name.startswith("torch._utils._rebuild_parameter") and arguments:
        if isinstance(arguments[0], Tensor):
            return arguments[0]
    elif function.name.startswith("torch._utils._rebuild_tensor") and len(arguments) >= 4:
        storage, offset, shape, strides = arguments[:4]  # the others: requires_grad, hooks, conjugation bits
        if isinstance(storage, Storage) and isinstance(shape, tuple) and isinstance(strides, tuple):
            if len(shape) > MOST_AXES:
                raise FormatError(f"has a tensor of {len(shape)} axes; more than {MOST_AXES} are no weights")
            if len(shape) == len(strides) and all(type(n) is int for n in (offset, *shape, *strides)):
                return Tensor(storage, offset, shape, strides)
    raise FormatError(f"its pickle calls {function.name} with other arguments than PyTorch does")


def _storage(identity: object) -> Storage:
    """The identity of a storage: ("storage", FloatStorage, "0", "cpu", 6), and in old files None or a part of it."""
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


def _pairs(keys: list[Any], values: list[Any]) -> dict[Any, Any]:
    """A dictionary. Keys that are no names are only numbered: no tensor of a state dict has one.

    The hash of a tuple of tuples of ... would end the process, and integers of equal hash would take hours.
    """
    if len(keys) != len(values):
        raise FormatError("its pickle is damaged: a dictionary has a key without a value")
    plain = [isinstance(key, str) or (type(key) is int and 0 <= key < 1 << 31) for key in keys]
    keys = [
        key if is_plain else f"{type(key).__name__} {k}"
        for k, (key, is_plain) in enumerate(zip(keys, plain, strict=True))
    ]
    return dict(zip(keys, values, strict=True))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
