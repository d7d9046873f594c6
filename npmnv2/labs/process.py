"""The grader's side of the student's process: start it, call its functions within a time, end it and all it started."""

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
from typing import Any, NamedTuple

import numpy as np

from npmnv2.labs import wire
from npmnv2.labs.child import END

START = 60.0  # seconds that Python and NumPy may take to load, once, on a slow machine
LIMIT = 5.0  # seconds of one call
MOST_OUTPUT = 1 << 15  # bytes that are kept of what one request printed: its end
STRANGE = "What came from your file's process were not the results of a function."
KEPT = ("SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "OPENBLAS_CORETYPE", "LANG", "LC_ALL")


class Stopped(Exception):
    """The student's code raised, exited, crashed or ran past its time."""

    def __init__(self, cause: str, says: str, line: int | None = None, about: str = "") -> None:
        super().__init__(says)
        self.cause, self.says, self.line, self.about = cause, says, line, about


class Answer(NamedTuple):
    """What a call gave."""

    result: Any
    arguments: tuple[Any, ...]  # as they are after it
    seen: Any = ()  # the calls of a function that it was given


class Printed(NamedTuple):
    """What the code printed during a request."""

    text: str
    left_out: int  # lines that are not kept, at its beginning


class Student:
    """A file of a student's, running in a process of its own.

    Use it in a ``with`` statement: the process ends with it. Every method raises `Stopped` if the student's code does
    not give an answer; after that the process may be gone.
    """

    def __init__(self, source: str, file: str, functions: list[str], limit: float = LIMIT) -> None:
        self.source, self.file, self.limit = source, os.path.basename(file), limit
        self._folder = tempfile.TemporaryDirectory(prefix="npmnv2-lab-", ignore_cleanup_errors=True)
        here = os.path.dirname(os.path.abspath(__file__))
        libraries = os.path.dirname(os.path.dirname(os.path.abspath(np.__file__)))
        command = [sys.executable, "-I", "-S", "-B", "-X", "utf8", os.path.join(here, "child.py")]
        self._process = subprocess.Popen(
            [*command, self._folder.name, os.path.dirname(here), libraries],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._folder.name,
            env=_environment(self._folder.name),
            start_new_session=os.name != "nt",
        )
        self.requests = 0  # so far
        self._printed = [bytearray()]  # a request each
        self._left_out = [0]
        self._answers: queue.Queue[bytes | None] = queue.Queue()
        self._waiting: queue.Queue[bytes | None] = queue.Queue()  # requests: to write them may take for ever
        work = (self._read_answers, self._read_output, self._write_requests)
        self._threads = [threading.Thread(target=function, daemon=True) for function in work]
        for thread in self._threads:
            thread.start()
        _RUNNING.add(self)
        self._ask = {"source": source, "file": self.file, "functions": functions}

    def __enter__(self) -> "Student":
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def load(self) -> list[str]:
        """Run the file; which of the functions it has."""
        if self._answer(START).get("ready") is not True:  # Python and NumPy are there
            raise Stopped("exits", STRANGE)
        found = self._request(self._ask).get("functions")
        return [str(name) for name in found] if isinstance(found, list) else []

    def call(self, function: str, arguments: tuple[Any, ...], after: str = "") -> Answer:
        """Call one of its functions; `after`: with the cache of another, as in `child.py`."""
        found = self._request({"function": function, "arguments": arguments, "watch": "", "after": after})
        changed = found.get("arguments")
        seen = found.get("seen")
        return Answer(
            found.get("result"),
            changed if isinstance(changed, tuple) else (),
            seen if isinstance(seen, list) else (),
        )

    def products(self, function: str, arguments: tuple[Any, ...]) -> int | None:
        """The multiplications of a call; None if they cannot be counted."""
        found = self._request({"function": function, "arguments": arguments, "watch": "products"}).get("products")
        return found if type(found) is int else None

    def largest(self, function: str, arguments: tuple[Any, ...]) -> int | None:
        """The elements of the largest array that the arithmetic of a call makes; None if that cannot be told."""
        found = self._request({"function": function, "arguments": arguments, "watch": "products"}).get("largest")
        return found if type(found) is int and found > 0 else None

    def peak_bytes(self, function: str, arguments: tuple[Any, ...]) -> int | None:
        """The most memory that a call held at one time beyond its arguments."""
        found = self._request({"function": function, "arguments": arguments, "watch": "bytes"}).get("bytes")
        return found if type(found) is int else None

    def printed(self, request: int) -> Printed:
        """What it printed during a request, of which the first is to load the file. All is there after `end`."""
        if request >= len(self._printed):
            return Printed("", 0)
        return Printed(self._printed[request].decode(errors="replace"), self._left_out[request])

    def end(self) -> None:
        """End the process, and whatever it has started."""
        _RUNNING.discard(self)
        if os.name != "nt":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._waiting.put(None)
        streams = (self._process.stdout, self._process.stderr, self._process.stdin)
        for thread, stream in zip(self._threads, streams, strict=True):
            thread.join(1)
            if not thread.is_alive():  # else somebody else holds the other end: closing would wait for the thread
                with contextlib.suppress(OSError):
                    stream.close()  # type: ignore[union-attr]
        self._folder.cleanup()

    def _request(self, message: dict[str, Any]) -> dict[str, Any]:
        self.requests += 1
        self._waiting.put(wire.pack({**message, "limit": self.limit}))
        return self._answer(self.limit + 2.0)

    def _answer(self, seconds: float) -> dict[str, Any]:
        try:
            data = self._answers.get(timeout=seconds)
        except queue.Empty:
            try:
                data = self._answers.get_nowait()  # it came while this thread had to wait for its turn
            except queue.Empty:
                raise self._hung() from None
        if data is None:
            raise self._ended()
        try:
            found = wire.unpack(data)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Stopped("exits", STRANGE)
        if "error" in found:
            raise _raised(found["error"])
        return found

    def _hung(self) -> Stopped:
        return Stopped("hangs", f"No result after {self.limit:g} seconds.", self._traced_line())

    def _ended(self) -> Stopped:
        """Why there is no more to read: the time ran out, the process crashed, or the code ended it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        trace = self._trace()
        if "Timeout" in trace:
            return self._hung()
        code = self._process.returncode
        if code is not None and code < 0:
            name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
            return Stopped("crashes", f"Python itself stopped with {name}.", self._traced_line())
        return Stopped("exits", f"Your file ended Python with status {code} before the function returned.")

    def _trace(self) -> str:
        try:
            with open(os.path.join(self._folder.name, "trace.txt"), encoding="utf-8", errors="replace") as file:
                return file.read(1 << 16)
        except OSError:
            return ""

    def _traced_line(self) -> int | None:
        found = re.search(rf'File "{re.escape(self.file)}", line (\d+)', self._trace())
        return int(found[1]) if found else None

    def _write_requests(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while (data := self._waiting.get()) is not None:
                self._process.stdin.write(data)  # type: ignore[union-attr]
                self._process.stdin.flush()  # type: ignore[union-attr]

    def _read_answers(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while (data := wire.receive(self._process.stdout.read)) is not None:  # type: ignore[union-attr]
                self._answers.put(data)
        self._answers.put(None)

    def _read_output(self) -> None:
        """Keep the end of what each request prints, and read on: a full pipe would stop the student's process."""
        with contextlib.suppress(OSError, ValueError):
            while data := self._process.stderr.read1(1 << 16):  # type: ignore[union-attr]
                for k, part in enumerate(data.split(END)):
                    if k:
                        self._printed.append(bytearray())
                        self._left_out.append(0)
                    kept = self._printed[-1]
                    kept += part
                    self._left_out[-1] += kept.count(b"\n", 0, max(0, len(kept) - MOST_OUTPUT))
                    del kept[:-MOST_OUTPUT]


_RUNNING: set[Student] = set()


def end_all() -> None:
    """End the processes of all that are running, in whatever thread."""
    for student in list(_RUNNING):
        student.end()


def _environment(folder: str) -> dict[str, str]:
    """Nothing of the grader's environment but what Python needs to start."""
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL", "VECLIB", "NUMEXPR")}
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    garbage = {"MALLOC_PERTURB_": "165"}  # what np.empty returns is never zero by luck, where the C library obeys
    return {**kept, **threads, **garbage, **dict.fromkeys(("HOME", "TMPDIR", "TEMP", "TMP"), folder)}


def _raised(error: Any) -> Stopped:
    if not isinstance(error, dict):
        return Stopped("raises", "Your function raised an exception.")
    kind, text, line = str(error.get("type"))[:80], str(error.get("text"))[:500], error.get("line")
    line = line if type(line) is int and 0 < line < 1_000_000 else None
    if kind in ("SystemExit", "KeyboardInterrupt"):
        return Stopped("exits", f"Your code raised {kind} where it should have returned a result.", line)
    cause = {"SyntaxError": "syntax", "IndentationError": "syntax", "TabError": "syntax"}.get(kind, "raises")
    if kind in ("ImportError", "ModuleNotFoundError"):
        cause, text = "import", text if "NumPy alone" in text else f"{text} (a lab needs NumPy alone)"
    if kind == "KeyError":
        return Stopped("key-missing", f"There is no {text} in the dict.", line)
    if kind == "NotImplementedError":
        return Stopped("not-written", text or "The function is still to be written.", line)
    about = "unpack" if kind == "ValueError" and "unpack" in text else kind
    return Stopped(cause, f"{kind}: {text}", line, about)
