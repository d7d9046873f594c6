"""A pickle, as in a .pth, read without running it.

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
that say where the tensor lies (`pickled`). Every other name makes an `Object`, whatever is done with it, and is listed:
training scripts save their options, schedules and versions beside the weights, and a name that is never looked up does
no harm whichever it is. What a program can build is bounded too: it has a most number of steps, a step adds at most one
object, a text takes at most four times its bytes, and nothing here calls itself.
"""

import pickletools
from typing import Any, BinaryIO, NamedTuple

from npmnv2.files import FormatError, shown
from npmnv2.weights.formats.pickled import MAKERS, NEEDED, STORAGES, Global, Object, Storage, call, pairs, storage

STEPS = 250_000  # with room for some ten thousand tensors, which take about 25 each; MobileNetV2 has 314
MOST_DROPPED = 20  # names that are listed
INTEGER_BITS = 128  # as large as the numbers in the states of random generators are
STORAGE_MODULES = ("torch", "torch.cuda", "torch.storage")

_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
_TEXTS = ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
_TEXTS_OF_PYTHON_2 = ("BINSTRING", "SHORT_BINSTRING")
_PUSH_ARGUMENT = frozenset(_NUMBERS + _TEXTS + _TEXTS_OF_PYTHON_2)
_PUSH_CONSTANT = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Loaded(NamedTuple):
    """What a pickle holds."""

    value: Any  # dict, list, tuple, str, int, float, bool, None, Tensor, Storage, Global or Object
    storages: list[Storage]  # every one that was asked for, as often as it was
    dropped: list[str]  # the names that it asks for and that no state dict needs, `MOST_DROPPED` of them


def load(file: BinaryIO) -> Loaded:
    """Read one pickle, to its end and no further.

    An operation that no state dict needs, and too large a program, are a `FormatError`. What is no pickle is a
    `ValueError` of `pickletools`.

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
        elif operation in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_SET"):  # a set is kept as a list
            self.stack.append({} if operation == "EMPTY_DICT" else [])
        elif operation not in ("PROTO", "FRAME", "STOP"):
            self.step_of_a_container(operation, argument)

    def step_of_a_container(self, operation: str, argument: Any) -> None:
        if operation in ("SETITEM", "SETITEMS"):
            items = [self.pop(), self.pop()][::-1] if operation == "SETITEM" else self.pop_to_mark()
            self.fill(pairs(items[::2], items[1::2]))
        elif operation in ("APPEND", "APPENDS", "ADDITEMS"):
            self.fill([self.pop()] if operation == "APPEND" else self.pop_to_mark())
        elif operation == "FROZENSET":
            self.stack.append(self.pop_to_mark())
        elif operation == "GLOBAL":
            self.name(argument.replace(" ", ".", 1))
        elif operation == "STACK_GLOBAL":
            name, module = self.pop(), self.pop()
            self.name(".".join(part if isinstance(part, str) else "" for part in (module, name)))
        elif operation in ("REDUCE", "NEWOBJ", "NEWOBJ_EX"):
            if operation == "NEWOBJ_EX":
                self.pop()  # arguments by keyword, which nothing known here has
            arguments, function = self.pop(), self.pop()
            made = call(function, arguments)
            if isinstance(made, Object) and made.name.startswith("numpy.dtype of"):  # an array of no plain numbers
                self.drop(made.name)
            self.stack.append(made)
        elif operation == "BUILD":  # attributes: of a model all its arrays, of an OrderedDict _metadata
            state = self.pop()
            target = self.stack[-1] if self.stack else None
            if isinstance(target, Object):
                target.build(state)
            elif not isinstance(target, dict):
                raise FormatError(f"its pickle sets attributes of something that has none; {NEEDED}")
        elif operation == "BINPERSID":
            found = storage(self.pop())
            if isinstance(found, Storage):
                self.storages.append(found)
            self.stack.append(found)
        else:
            raise FormatError(f"its pickle uses the operation {operation}; {NEEDED}")

    def name(self, name: str) -> None:
        """Push a name, and remember one that nothing here makes anything of."""
        module, _, last = name.rpartition(".")
        is_storage = module in STORAGE_MODULES and last.endswith("Storage")
        if is_storage and last not in STORAGES:
            raise FormatError(f"holds a tensor of {shown(last)}; known are {', '.join(STORAGES)}{_quantised(last)}")
        if name not in MAKERS and not is_storage:
            self.drop(name)
        self.stack.append(Global(name))

    def drop(self, name: str) -> None:
        if len(self.dropped) < MOST_DROPPED:
            self.dropped[shown(name)] = None

    def fill(self, items: dict[Any, Any] | list[Any]) -> None:
        target = self.pop()
        self.stack.append(target)
        if isinstance(target, dict) and isinstance(items, dict):
            target.update(items)
        elif isinstance(target, list) and isinstance(items, list):
            target.extend(items)
        elif isinstance(target, Object) and isinstance(items, dict):
            target.fill(items)
        elif not isinstance(target, Object):
            raise FormatError("its pickle is damaged: it puts something into what holds nothing")


def _quantised(name: str) -> str:
    is_quantised = name.startswith("Q")
    return ". The network is quantised: load the file of the float network that it was made from" * is_quantised
