"""The limits of the machine, which the times of `separable.py` and `peers.py` stand beside: products and copies."""

import numpy as np

from common.measure import aligned, copier, silent, summary, take_turns


def limits():
    """Calls for a contestant, with the threads at hand: large matrix products, copies of several sizes."""
    calls = {}
    for n in (384, 768, 1536):
        a, b, out = (aligned(np.ones((n, n))) for _ in range(3))
        calls[f"product {n}"] = lambda a=a, b=b, out=out: np.matmul(a, b, out=out)
    calls |= {f"copy {1 << k}": copier((1 << k) // 8) for k in range(14, 28, 2)}  # bytes read and written
    return {name: silent(call) for name, call in calls.items()}


def measure_limits(worker, threads, patience):
    """Speed of large matrix products (of one BLAS thread, times the threads) and of copies of several sizes."""
    worker.ask(case="limits", save="")
    times = take_turns({"npmnv2": worker}, 5, 0.05, patience)
    us = {way: summary(t)["min_us"] for (_, way), t in times.items()}
    peak = max(2e6 * int(way.split()[1]) ** 3 / t for way, t in us.items() if way.startswith("product")) * threads
    copies = {int(way.split()[1]): 1e6 * int(way.split()[1]) / t for way, t in us.items() if way.startswith("copy")}
    return {"threads": threads, "flop_per_s": peak, "bytes_per_s": copies}
