"""What a whole process takes, for `peers.py`: the memory it holds while it runs a network, and its start-up.

python benchmarks/peers_process.py NAME CASE         one measurement of memory, as JSON: what `memory` runs
"""

import contextlib
import ctypes
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import ROOT
from common.command import progress
from common.machine import environment
from peers_contestants import INFERENCE, TRAINING, images, missing, prepare, write_weights
from peers_report import title_of

COLD = {  # a program each, as short as its users would write it: `x` and the weights from files, `logits`
    "npmnv2": """
import numpy as np, npmnv2
model = npmnv2.weights.load_model("1.0.npz")
logits = npmnv2.fuse(model)(np.load("x.npy"))
""",
    "onnxruntime": """
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession("1.0.onnx", providers=["CPUExecutionProvider"])
logits = session.run(None, {"x": np.load("x.npy").transpose(0, 3, 1, 2)})[0]
""",
    "openvino": """
import numpy as np, openvino
settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
model = openvino.Core().compile_model("1.0.onnx", "CPU", settings)
logits = model(np.load("x.npy").transpose(0, 3, 1, 2).copy())[0]
""",
    "torch nchw": """
import numpy as np, torch
from torchvision_models import torchvision
model = torchvision.models.mobilenet_v2()
model.load_state_dict(torch.load("1.0.pth", weights_only=True))
with torch.inference_mode():
    logits = model.eval()(torch.from_numpy(np.load("x.npy")).permute(0, 3, 1, 2)).numpy()
""",
}
COMPILE = """
import collections, json, time
import numba.core.event as event
import numpy as np, npmnv2
from npmnv2 import ops
from npmnv2.nn import optim

class Watch(event.Listener):
    starts, seconds = [], collections.Counter()

    def on_start(self, now):
        self.starts.append(time.perf_counter())

    def on_end(self, now):
        start = self.starts.pop()
        if not self.starts:  # what a kernel needs counts as a part of it
            self.seconds[now.data["dispatcher"].py_func.__name__.strip("_")] += time.perf_counter() - start

event.register("numba:compile", Watch())
x, model = np.load("x.npy"), npmnv2.weights.load_model("1.0.npz")
logits = npmnv2.fuse(model)(x)
loss, dlogits = ops.softmax_cross_entropy(model.train()(x), np.array([0]))
model.backward(dlogits)
optim.SGD(model.parameters(), 0.01).step()
with open("kernels.json", "w") as file:
    json.dump(Watch.seconds, file)
"""
END = """
import time
np.save("logits.npy", logits)
print(time.process_time(), flush=True)
"""


# Memory.


def _status(key):
    """A line of this process's memory, in bytes; None where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return 1024 * int(line.split()[1])
    return None


def _tidy():
    """Give back what is free, and begin a new highest level; whether the system can."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        return True
    return False


def held(name, case):
    """In bytes: what a case holds at most beyond a process that has run a small one, and beyond its prepared network.

    Of a contestant with two ways, the last alone is run.
    """
    what, width, size, N, folder = case
    for call in prepare(name, [what, width, 64, 2, folder]).values():
        call()
    del call
    can = _tidy()
    small = _status("VmRSS")
    calls = prepare(name, case)
    call = calls.popitem()[1]
    calls.clear()
    _tidy()
    ready = _status("VmRSS")
    for _ in range(3):
        call()
    highest = _status("VmHWM")
    if not can or None in (small, ready, highest):
        return {}
    found = {"peak": highest - small, "work": highest - ready}
    return found | {"buffers": getattr(call, "working_bytes", lambda: None)()}


def memory(cases, names, folder):
    """What contestants hold in each case, in processes of their own; not torch.compile, which takes minutes."""
    rows = []
    for case in cases:
        what, width, size, N = case
        row = {"what": what, "width": width, "size": size, "batch": N, "working_bytes": None, "peak": {}, "work": {}}
        for name in names:
            if name == "torch.compile" or name not in (INFERENCE if what == "inference" else TRAINING):
                continue
            progress(f"memory of {name}: {what}, {N}x{size}x{size}")
            found = _in_process(name, [*case, folder])
            for kind in ("peak", "work"):
                row[kind][name] = found.get(kind)
            row["working_bytes"] = found.get("buffers") or row["working_bytes"]
        rows.append(row)
    return rows


def _in_process(name, case):
    one = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [sys.executable, __file__, name, json.dumps(case)]
    done = subprocess.run(command, env=os.environ | one, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"error: the process that measures the memory of {name} ended; its message is above")
    return json.loads(done.stdout.splitlines()[-1])


# Start-up.


def first_logits(program, folder, exact=None, cache=None):
    """Seconds from the start of a process to its first logits, and of CPU; with an error if they are not `exact`."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "golden")])
    env = os.environ | {"PYTHONPATH": paths, "NUMBA_CACHE_DIR": cache or f"{folder}/cache"}
    begin = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program + END], cwd=folder, env=env, stdout=subprocess.PIPE, text=True
    ) as process:
        line = process.stdout.readline()
        seconds = time.perf_counter() - begin
    if process.returncode or not line:
        raise SystemExit("error: a process that was to be timed ended; its message is above")
    logits = np.load(f"{folder}/logits.npy")
    if exact is not None and not np.abs(logits - exact).max() <= 1e-3 * np.abs(exact).max():
        raise SystemExit(f"error: a process that was timed gave other logits:{program}")
    return {"seconds": seconds, "cpu": float(line)}


def side_by_side(folder):
    """Seconds of `python -m npmnv2 compile` from an empty cache, and of CPU."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": f"{folder}/side-by-side"}
    begin, before = time.perf_counter(), os.times()
    done = subprocess.run([sys.executable, "-m", "npmnv2", "compile"], env=env, stdout=subprocess.PIPE)
    seconds, after = time.perf_counter() - begin, os.times()
    if done.returncode:
        raise SystemExit("error: a process that was to be timed ended; its message is above")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": seconds, "cpu": cpu}


def cold(rounds, packages):
    """From an empty cache of compiled kernels, then warm: `rounds` starts of every contestant, in turns."""
    import npmnv2

    names = [name for name in COLD if not missing(name)]
    report = {"environment": environment(packages), "missing": {n: f"no {missing(n)}" for n in COLD if missing(n)}}
    with tempfile.TemporaryDirectory() as folder:
        write_weights(folder, 1.0, onnx="onnxruntime" in names or "openvino" in names)
        x = images(224, 1)
        np.save(f"{folder}/x.npy", x)
        with npmnv2.backend("numpy"):
            exact = npmnv2.weights.load_model(f"{folder}/1.0.npz").eval()(x)
        progress("compiling everything")
        report["compile"] = first_logits(COMPILE, folder, exact)
        report["compile"]["kernels"] = json.loads(Path(f"{folder}/kernels.json").read_text())
        progress("compiling side by side")
        report["side by side"] = side_by_side(folder)
        found = {name: [] for name in names}
        for k in range(rounds):
            for name in names:
                progress(f"start {k + 1} of {rounds}: {name}")
                found[name].append(first_logits(COLD[name], folder, exact))
    progress("")
    report["first"] = {
        name: {
            "median": statistics.median(run["seconds"] for run in runs),
            "least": min(run["seconds"] for run in runs),
            "cpu": statistics.median(run["cpu"] for run in runs),
        }
        for name, runs in found.items()
    }
    ours, theirs = report["first"]["npmnv2"]["median"], report["first"]
    report["checks"] = [
        ("seconds to compile everything", report["compile"]["seconds"], 20),
        ("seconds from start to first logits", ours, 1.0),
        *((f"of {title_of(name)}'s start", ours / theirs[name]["median"], 1.0) for name in names[1:]),
    ]
    return report


if __name__ == "__main__":
    print(json.dumps(held(sys.argv[1], json.loads(sys.argv[2]))))
