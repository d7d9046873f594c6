"""The student's process: it runs the file, calls its functions and returns arrays. It knows no right answer.

Started by `process.py` as a program of its own, without the package: `python -I -S child.py FOLDER PATH ...`. Requests
come on stdin, answers go to stdout; both are moved to other numbers first, and what the student prints goes to stderr.
The limits and refusals below keep an accident from doing harm. They are no sandbox against strangers: code that looks
through the frames of this file, or has machine code to run, gets past them.
"""

import contextlib
import ctypes
import faulthandler
import importlib
import os
import runpy
import sys
import traceback
import tracemalloc
import types
from typing import Any, BinaryIO

MEMORY = 2 << 30  # bytes of address space
FILE = 1 << 20  # bytes of a file
MOST_SEEN = 50  # calls of a given function that are kept
END = b"\x1d"  # on stderr, after what a request printed: "group separator"
PROCESSOR = 3600  # seconds of all calls together: what outlives the grader ends all the same
REFUSED = (  # Python's names of what a lab has no use for
    "_winapi.",
    "ctypes.",
    "ensurepip.",
    "ftplib.",
    "http.",
    "os.chdir",
    "os.chflags",
    "os.chmod",
    "os.chown",
    "os.exec",
    "os.fork",
    "os.kill",
    "os.link",
    "os.lockf",
    "os.mkdir",
    "os.posix_spawn",
    "os.putenv",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.setxattr",
    "os.spawn",
    "os.startfile",
    "os.symlink",
    "os.system",
    "os.truncate",
    "os.unsetenv",
    "os.utime",
    "pty.spawn",
    "resource.",
    "shutil.",
    "signal.",
    "smtplib.",
    "socket.",
    "sqlite3.",
    "subprocess.",
    "syslog.",
    "urllib.",
    "webbrowser.",
    "winreg.",
)

_OS = ["mkfifo", "mknod", "nice", "pidfd_open", "sched_setaffinity", "sched_setparam", "sched_setscheduler"]
_OS += ["setpriority", "setsid", "setpgid"]
_TRACE = ["clear_traces", "reset_peak", "start", "stop"]
TAKEN_AWAY = {  # by the names of the modules; those with "_" are where the others have them from
    "_posixsubprocess": ["fork_exec"],
    "os": _OS,
    "posix": _OS,
    "signal": ["pidfd_send_signal"],
    "_signal": ["pidfd_send_signal"],
    "tracemalloc": _TRACE,
    "_tracemalloc": _TRACE,
}
_stop_tracing = tracemalloc.stop
_start_tracing = tracemalloc.start


def serve(folder: str, package: str, libraries: str) -> None:
    """Answer requests until there are no more."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    trace = open(os.path.join(folder, "trace.txt"), "wb")  # noqa: SIM115 - where Python crashes, or how long it hangs
    faulthandler.enable(trace, all_threads=False)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    sys.path.append(libraries)
    import numpy.lib.stride_tricks
    import numpy.random  # noqa: F401 - what NumPy would load later

    beside = os.path.join(package, "labs")
    wire = runpy.run_path(os.path.join(beside, "wire.py"))
    counted = runpy.run_path(os.path.join(beside, "counted.py"))
    _end_with_the_grader()
    _limit()
    _take_away()
    _guard(package, [folder, *sys.path])
    sys.path.remove(libraries)
    answers.write(wire["pack"]({"ready": True}))
    answers.flush()
    _answer(requests, answers, trace, wire, counted)
    os._exit(0)  # a thread of the student's might never end


def _answer(requests: BinaryIO, answers: BinaryIO, trace: BinaryIO, wire: Any, counted: Any) -> None:
    module = types.ModuleType("student")
    sys.modules["student"] = module  # where `dataclass` and others look for a class's module
    file = ""
    while True:
        data = wire["receive"](requests.read)
        if data is None:
            return
        request = wire["unpack"](data)
        faulthandler.dump_traceback_later(request["limit"], exit=True, file=trace)
        answer: dict[str, Any]
        try:
            if "source" in request:
                file = request["file"]
                module.__file__, sys.argv[:] = file, [file]
                exec(compile(request["source"], file, "exec"), vars(module))
                names = request["functions"]
                answer = {"functions": [name for name in names if callable(vars(module).get(name))]}
            else:
                function = vars(module)[request["function"]]
                if request.get("after"):
                    function = _chained(vars(module)[request["after"]], function)
                answer = _call(function, request["arguments"], request["watch"], counted)
            packed = wire["pack"](answer)
        except (
            BaseException
        ) as error:  # SystemExit and KeyboardInterrupt as well: nothing of the student ends this loop
            packed = wire["pack"]({"error": _described(error, file)})
        faulthandler.cancel_dump_traceback_later()
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            os.write(2, END)
        answers.write(packed)
        answers.flush()


def _call(function: Any, arguments: tuple[Any, ...], watch: str, counted: Any) -> dict[str, Any]:
    """The result, and the arguments as they are afterwards."""
    answer: dict[str, Any] = {}
    if watch == "products":
        tally = counted["Tally"]()
        function(*(_counting(argument, tally, counted["count"]) for argument in arguments))
        return {"products": tally.products, "largest": tally.largest}
    if watch == "bytes":
        _start_tracing()
        before = tracemalloc.get_traced_memory()[0]
        function(*arguments)
        answer["bytes"] = tracemalloc.get_traced_memory()[1] - before
        _stop_tracing()
        return answer
    _litter()
    seen: list[dict[str, Any]] = []
    given = [_given(value, seen) if type(value) is dict and "source" in value else value for value in arguments]
    answer["result"] = function(*given)
    answer["arguments"], answer["seen"] = arguments, seen
    return answer


def _chained(first: Any, second: Any) -> Any:
    """`second`, with the cache that `first` returned; there may be more calls of `first` before it."""

    def chained(dout: Any, *given: tuple[Any, ...]) -> Any:
        caches = [first(*arguments)[1] for arguments in given]
        return second(dout, caches[0])

    return chained


def _counting(argument: Any, tally: Any, count: Any) -> Any:
    """Arrays that count, in a dict as well."""
    if type(argument) is dict:
        return {name: _counting(value, tally, count) for name, value in argument.items()}
    return count(argument, tally) if hasattr(argument, "shape") else argument


def _given(value: dict[str, Any], seen: list[dict[str, Any]]) -> Any:
    """A function from its source, for a lab whose arguments are functions; its first calls are kept."""
    space: dict[str, Any] = {}
    exec(compile(value["source"], "given", "exec"), space)
    name, names = value["function"], value["names"]
    function = space[name]

    def given(*arguments: Any, **named: Any) -> Any:
        if sum(("dout" in call) == ("dout" in names) for call in seen) < MOST_SEEN:
            call = {**dict(zip(names, arguments, strict=False)), **named}
            seen.append({key: _kept(argument) for key, argument in call.items()})
        return function(*arguments, **named)

    return given


def _kept(argument: Any) -> Any:
    """A copy, for the function may change its arguments; nothing of what is large."""
    if not hasattr(argument, "copy"):
        return argument
    return argument.copy() if getattr(argument, "size", 1 << 14) < 1 << 14 else None


def _litter() -> None:
    """Leave numbers in the memory that NumPy hands out next, so that `np.empty` is never zero by luck."""
    import numpy as np

    for size in range(1, 128):  # NumPy keeps freed blocks below 1,024 bytes for itself
        held = [np.full(size, 1e30) for _ in range(3)]
        del held


def _described(error: BaseException, file: str) -> dict[str, Any]:
    """What was raised, and the last line of the student's file on the way to it."""
    line = None
    for frame, number in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename == file:
            line = number
    if isinstance(error, SyntaxError) and error.filename == file:
        line = error.lineno
    try:
        text = str(error.msg if isinstance(error, SyntaxError) else error)
    except BaseException:  # an exception of the student's whose text fails
        text = ""
    return {"type": type(error).__name__[:80], "text": text[:500], "line": line}


def _limit() -> None:
    """Memory, files and processor time, where the system limits them."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for name, most in (("AS", MEMORY), ("FSIZE", FILE), ("CORE", 0), ("NOFILE", 64), ("CPU", PROCESSOR)):
        kind = getattr(resource, f"RLIMIT_{name}", None)
        if kind is not None:
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(kind, (most, most))


def _end_with_the_grader() -> None:
    """Linux ends this process with the one that started it, in whatever way that ends."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL


def _take_away() -> None:
    """Functions that a lab has no use for, and of whose calls Python tells nobody."""

    def refused(*arguments: Any, **named: Any) -> Any:
        raise PermissionError("a lab has no use for this")

    for module, names in TAKEN_AWAY.items():
        with contextlib.suppress(ImportError):
            for name in names:
                if hasattr(importlib.import_module(module), name):
                    setattr(sys.modules[module], name, refused)


def _guard(package: str, readable: list[str]) -> None:
    """Refuse what a lab has no use for: files but Python's own, writing, other processes, the network."""
    package = os.path.realpath(package) + os.sep
    roots = tuple(os.path.realpath(path) + os.sep for path in readable)
    realpath, isdir, fsdecode = os.path.realpath, os.path.isdir, os.fsdecode
    nowhere = realpath(os.devnull)
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    refused, gone = REFUSED, frozenset({"npmnv2", *TAKEN_AWAY})

    def refuse(event: str, details: tuple[Any, ...]) -> None:
        if event == "import" and str(details[0]).partition(".")[0] in gone:  # those loaded already need no event
            raise ImportError(f"a lab is written with NumPy alone: {details[0]} cannot be imported in it")
        if event == "open":
            path, mode, flags = details
            if type(path) is int:
                return
            if type(path) not in (str, bytes):  # it could answer otherwise when it is asked again
                raise PermissionError("a lab names files by a text")
            real = realpath(fsdecode(path))
            if real == nowhere:
                return
            if flags & writes or set(str(mode or "")) & set("wax+"):
                raise PermissionError("a lab cannot write files")
            if (real + os.sep).startswith(package) or isdir(real) or not real.startswith(roots):
                raise PermissionError("a lab cannot read files but those of Python's libraries")
        elif event.startswith(refused):
            raise PermissionError(f"a lab has no use for {event}")

    sys.addaudithook(refuse)


if __name__ == "__main__":
    serve(*sys.argv[1:])
