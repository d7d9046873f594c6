"""Cases, run one by one or several at a time, each on one thread."""

import concurrent.futures
import multiprocessing
from collections.abc import Callable, Iterable

from npmnv2.experiments import load
from npmnv2.experiments.experiment import Case, Result
from npmnv2.experiments.store import Store


def run(name: str, cases: Iterable[Case], store: Store, processes: int, said: Callable[[Case], None]) -> None:
    """Run cases, and keep each result as soon as it is there.

    The number of processes changes no result: a case runs on one thread of one process.

    Parameters
    ----------
    name : str
        Of the experiment.
    cases : iterable of Case
    store : Store
    processes : int
        So many cases at a time.
    said : callable
        Called with each case that is done.
    """
    waiting = list(cases)
    if processes == 1 or len(waiting) < 2:
        for case in waiting:
            store.put(case, _one(name, case))
            said(case)
        return
    context = multiprocessing.get_context("spawn")  # Numba's threads do not survive a fork
    with concurrent.futures.ProcessPoolExecutor(min(processes, len(waiting)), context) as pool:
        running = {pool.submit(_one, name, case): case for case in waiting}
        try:
            for future in concurrent.futures.as_completed(running):
                store.put(running[future], future.result())
                said(running[future])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _one(name: str, case: Case) -> Result:
    from npmnv2.runtime.threads import limit_threads

    experiment = load(name)
    with limit_threads(1):
        return experiment.run(case)
