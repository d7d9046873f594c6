"""How it is measured: contestants in processes of their own that take turns.

A script calls `serve` in the processes, and `contestants`, `start` and `take_turns` in the one that reports. Each
contestant lives in a process of its own, because thread pools that share cores make each other slow; they take turns,
so that a busy spell of the machine hits all. A turn in which other programs used more than a tenth of the machine is
taken again, as long as patience lasts; how many were kept nevertheless is in the report.

Memory is treated alike for all: every process runs with glibc told to keep what is freed (`MALLOC`). Otherwise whether
a result of tens of MB lies in fresh pages, at about 0.1 ms a MB for the kernel to clear them, or in used ones, depends
on what else the process happens to have freed: the same call was measured at 1.2 and at 3 ms.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WRONG = "not what NumPy computes in float64"
PAUSE = 0.02  # seconds: idle threads of the last turn go to sleep
MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 36), "MALLOC_TOP_PAD_": str(1 << 26)}


def aligned(values, dtype=np.float32):
    """A copy that begins at a cache line, so that nobody is slowed by where an input happens to lie."""
    room = np.empty(values.size * np.dtype(dtype).itemsize + 64, np.uint8)
    out = np.ndarray(values.shape, dtype, room, offset=-room.__array_interface__["data"][0] % 64)
    out[...] = values
    return out


def copier(values):
    """The yardstick: a call that copies so many float32, with Numba's threads."""
    from npmnv2.kernels.copy import copy

    a = aligned(np.zeros((64, -(-values // 64))))
    b = aligned(a)
    return lambda: copy(a, b)


def measure(call, seconds):
    """Times of repeated calls for about so long; three at least, one if it alone takes longer."""
    times, end = [], time.perf_counter() + seconds
    while not times or (len(times) < 3 and times[0] < seconds) or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def summary(times):
    """Median, half the interquartile range, and the least, in microseconds."""
    low, middle, high = np.percentile(np.array(times) * 1e6, [25, 50, 75])
    return {"median_us": float(middle), "spread_us": float((high - low) / 2), "min_us": float(min(times) * 1e6)}


def in_milliseconds(times):
    """By contestant the summary of its fastest way, from the times by (contestant, way)."""
    found = {}
    for (name, way), some in times.items():
        ms = {key[:-3]: us / 1e3 for key, us in summary(some).items()} | {"way": way}
        if name not in found or ms["median"] < found[name]["median"]:
            found[name] = ms
    return found


def silent(call):
    """A call that is timed only, for what it gives is checked elsewhere or is nothing."""
    call.result = lambda: None
    return call


def serve(prepare):
    """Be a contestant: a line of JSON in, one out.

    {"case", "save"}: `prepare(case)` returns calls by name; each is run, and its result saved if it is to be checked
    (``call.result()``, an array or a tuple of them, where that differs from the call; None where there is nothing).
    Of several ways, "name (one)", "name (other)", those go that a first trial finds half as slow again as the best.
    {"seconds"}: time each call for so long.
    """
    calls = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "case" in request:
            try:
                calls = prepare(request["case"])
            except ImportError as missing:
                print(json.dumps({"missing": str(missing)}), flush=True)
                continue
            trial = {}
            for way, call in calls.items():
                result = getattr(call, "result", call)()
                if result is not None:
                    np.savez(f"{request['save']}-{way}.npz", *(result if isinstance(result, tuple) else (result,)))
                trial[way] = min(measure(call, 0.005))
            calls = {way: call for way, call in calls.items() if trial[way] <= 1.5 * _fastest_rival(way, trial)}
            reply = {"ways": list(calls)}
            if "numba" in sys.modules:
                with contextlib.suppress(ValueError):  # nothing has run in parallel
                    reply["threading layer"] = sys.modules["numba"].threading_layer()
        else:
            start = time.process_time()
            times = {way: measure(call, request["seconds"]) for way, call in calls.items()}
            reply = {"times": times, "cpu": time.process_time() - start}
        print(json.dumps(reply), flush=True)


def _fastest_rival(way, times):
    """The least time among the ways of doing the same, which are told apart by a word in brackets."""
    return min(time for other, time in times.items() if other.split(" (")[0] == way.split(" (")[0])


class Worker:
    """A contestant, seen from the process that reports: `script` runs `serve` when called with --worker `name`."""

    def __init__(self, script, name, threads):
        self.name = name
        limits = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        self.process = subprocess.Popen(
            [sys.executable, script, "--worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | limits | MALLOC | {"OPENBLAS_NUM_THREADS": "1"},
        )

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"error: the process of {self.name} ended; its message is above")
        time.sleep(PAUSE)
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def contestants(script, names, threads):
    """Workers by name, for as long as the block runs. `start` takes those out who cannot take part."""
    workers = {name: Worker(script, name, threads) for name in names}
    try:
        yield workers
    finally:
        for worker in workers.values():
            worker.close()


def start(workers, missing, case, info, check):
    """Every contestant prepares the case, and ``check(name, way, path)`` what it saved. Returns those who take part."""
    ready = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in list(workers):
            stem = f"{folder}/{name.replace(' ', '-')}"
            reply = workers[name].ask(case=case, save=stem)
            if "missing" in reply:
                missing[name] = reply["missing"]
                workers.pop(name).close()
                continue
            info["threading layer"] = reply.get("threading layer", info.get("threading layer"))
            if reply["ways"]:
                ready[name] = workers[name]
            for way in reply["ways"]:
                if os.path.exists(f"{stem}-{way}.npz"):
                    check(name, way, f"{stem}-{way}.npz")
    return ready


def check_sums(who, path, exact, bound):
    """End with an error unless what was saved is `exact`, but for the rounding of sums of terms of size `bound`."""
    with np.load(path) as saved:
        got = [saved[key] for key in saved.files]
    for array, e, b in zip(got, exact, bound, strict=True):
        if array.shape != e.shape or not (np.abs(array - e) <= 1e-5 * b + 1e-6).all():
            wrong(who)


def wrong(who):
    """End with the error of a contestant whose result is another."""
    raise SystemExit(f"error: {who}: {WRONG}")


def _busy():
    """Seconds of CPU that all programs together have used, and all that there were; zeros where nobody tells."""
    with contextlib.suppress(OSError, AttributeError):
        ticks = [int(t) for t in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK"), sum(ticks) / os.sysconf("SC_CLK_TCK")
    return 0.0, 0.0


class Patience:
    """Seconds left for waiting until others are done, and how many turns were kept although they were not."""

    def __init__(self, seconds):
        self.seconds, self.turns, self.disturbed = seconds, 0, 0

    def report(self):
        """For the JSON."""
        return {"taken": self.turns, "disturbed by other programs": self.disturbed}


def take_turns(workers, rounds, seconds, patience):
    """Times by (contestant, call), `rounds` turns each."""
    times = {}
    for _ in range(rounds):
        for name, worker in workers.items():
            while True:
                busy, total = _busy()
                reply = worker.ask(seconds=seconds)
                busy, total = (after - before for after, before in zip(_busy(), (busy, total), strict=True))
                disturbed = busy - reply["cpu"] > 0.1 * total + 0.02  # a tick or two is no information
                if not disturbed or patience.seconds <= 0:
                    break
                time.sleep(0.2)
                patience.seconds -= 0.2 + total / (os.cpu_count() or 1)
            patience.turns += 1
            patience.disturbed += disturbed
            for way, some in reply["times"].items():
                times.setdefault((name, way), []).extend(some)
    return times
