"""Cases, run one by one or several at a time, each on one thread."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator

from npmnv2.experiments import load
from npmnv2.experiments.experiment import Case, Result
from npmnv2.experiments.store import Store


def run(name: str, cases: Iterable[Case], store: Store, processes: int, said: Callable[[Case], None]) -> None:
    """Run cases, and keep each result as soon as it is there.

    The number of processes changes no result: a case runs on one thread of one process. Nothing runs on when this ends,
    however it ends: Ctrl-C and SIGTERM stop what is under way.

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

    Raises
    ------
    OSError
        If one of the processes was killed.
    """
    waiting = list(cases)
    processes = min(processes, len(waiting))

    def keep(case: Case, result: Result) -> None:
        store.put(case, result)
        said(case)

    with _sigterm_as_ctrl_c():
        if processes > 1:
            _side_by_side(name, waiting, processes, keep)
        else:
            for case in waiting:
                keep(case, _one(name, case))


def _side_by_side(name: str, cases: list[Case], processes: int, keep: Callable[[Case, Result], None]) -> None:
    context = multiprocessing.get_context("spawn")  # Numba's threads do not survive a fork
    others = set(multiprocessing.active_children())
    with concurrent.futures.ProcessPoolExecutor(processes, context, _begin) as pool:
        try:
            running = {pool.submit(_one, name, case): case for case in cases}
            for future in concurrent.futures.as_completed(running):
                keep(running[future], future.result())
        except BaseException as reason:
            for worker in set(multiprocessing.active_children()) - others:
                worker.kill()
            pool.shutdown(cancel_futures=True)
            if isinstance(reason, concurrent.futures.BrokenExecutor):
                raise OSError(
                    "a process that ran a case ended before it was done: it was killed, as the system does when memory "
                    f"runs out (--processes must then be less than {processes}), or could not begin"
                ) from reason
            raise


def _begin() -> None:
    """In a new process: end with the one that began it, leave Ctrl-C to it, and draw no bars of training."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
    if sys.stderr is not None:
        sys.stderr.isatty = lambda: False  # type: ignore[method-assign]  # several bars would overwrite each other


@contextlib.contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # where no signal arrives
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _one(name: str, case: Case) -> Result:
    from npmnv2.runtime.threads import limit_threads

    experiment = load(name)
    with limit_threads(1):
        return experiment.run(case)
