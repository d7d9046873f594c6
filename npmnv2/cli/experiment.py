"""`python -m npmnv2 experiment`: one of the papers' arguments, run."""

import argparse
import sys
from typing import TYPE_CHECKING

from npmnv2.cli.options import check_writable
from npmnv2.cli.output import complain
from npmnv2.experiments import FULL_RUNS, NAMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from npmnv2.experiments.experiment import Case
    from npmnv2.experiments.store import Store


QUICK = "A quick run has fewer seeds, images or steps: it shows how the experiment goes, and settles nothing."


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options to a parser."""
    experiment = commands.add_parser(
        "experiment",
        help="an argument of the papers as an experiment: a table, a picture, what it does not show",
        description="Run an experiment and print its table. The package has full runs, which --stored shows, of "
        f"{', '.join(FULL_RUNS)}; docs/experiments.md has them too.",
    )
    experiment.add_argument("name", metavar="NAME", choices=NAMES, help=", ".join(NAMES))
    experiment.add_argument("--quick", action="store_true", help="smaller, with fewer seeds: under a minute")
    experiment.add_argument(
        "--stored", action="store_true", help="run nothing: show the full run that is kept in the package"
    )
    experiment.add_argument("--seeds", type=_seeds, metavar="S", help="so many from 0, or 5-9 (default: 5; --quick: 2)")
    experiment.add_argument(
        "--json", metavar="FILE", help="keep the results there as they come; if it is there, go on from it"
    )
    experiment.add_argument(
        "--plot", metavar="FILE", help="save the picture (.png, .svg, ...; memory also as .gif, animated)"
    )
    experiment.add_argument("--processes", type=int, metavar="P", help="cases at a time (default: the cores)")
    experiment.set_defaults(run=_run, animations=(".gif",))


def _seeds(text: str) -> range:
    first, dash, last = text.partition("-")
    try:
        seeds = range(int(first), int(last) + 1) if dash else range(int(first))
    except ValueError:
        seeds = range(0)
    if not len(seeds):
        raise argparse.ArgumentTypeError(f"must be a number of seeds from 1, or first-last; was {text!r}")
    return seeds


def _run(arguments: argparse.Namespace) -> int:
    from npmnv2.experiments import load
    from npmnv2.experiments.store import Store, kept

    experiment = load(arguments.name)
    is_animated = str(arguments.plot).lower().endswith(".gif")
    if is_animated and experiment.frames is None:
        raise ValueError(
            f"--plot must not end in .gif for {arguments.name}, which is one picture; was {arguments.plot}"
        )
    if arguments.stored and (arguments.quick or arguments.json):
        raise ValueError("--stored must stand without --quick and --json: it shows the full run in the package")
    if arguments.json is not None:
        check_writable(arguments.json, "--json")
    seeds = arguments.seeds or range(experiment.quick_seeds if arguments.quick else experiment.seeds)
    cases = experiment.cases(arguments.quick, seeds)
    store = Store(arguments.name, arguments.quick, kept(arguments.name) if arguments.stored else arguments.json)
    missing = store.missing(cases)
    if arguments.stored and missing:
        raise ValueError(f"--seeds must be of the run in the package; it has no {missing[0].key}")
    if arguments.quick:
        print(QUICK)
    print(f"{experiment.question}\n", flush=True)
    if len(missing) < len(cases) and not arguments.stored:
        complain(f"{len(cases) - len(missing)} of {len(cases)} cases are in {arguments.json}")
    if missing:
        _run_missing(arguments, missing, store, 1 if experiment.timed else arguments.processes)
    results = store.results(cases)
    print(*experiment.table(results), sep="\n")
    print("\nThis does not show", *(f"- {sentence};" for sentence in experiment.does_not_show[:-1]), sep="\n")
    print(f"- {experiment.does_not_show[-1]}.")
    run = store.document
    took = f" (all cases in {run['minutes']:.1f} minutes)" if "minutes" in run else ""
    print(f"\nSeeds {seeds[0]} to {seeds[-1]}, run on {run['date']}{took}; times are those of {run['machine']}.")
    if arguments.quick:
        print(QUICK)
    if is_animated and experiment.frames is not None:
        _animate(experiment.frames(results), arguments.plot)
    elif arguments.plot:
        from npmnv2.show import plots

        plots.save(experiment.draw(results), arguments.plot)
    return 0


def _run_missing(arguments: argparse.Namespace, missing: "list[Case]", store: "Store", processes: int | None) -> None:
    from tqdm.auto import tqdm

    from npmnv2.experiments import running
    from npmnv2.runtime.threads import get_num_threads

    processes = min(processes or get_num_threads(), len(missing))
    complain(f"{len(missing)} cases, {processes} at a time")
    quiet = sys.stderr is None or None  # None: on a terminal alone
    with tqdm(total=len(missing), unit="case", leave=False, disable=quiet) as bar:

        def said(case: "Case") -> None:
            bar.set_postfix_str(case.key, refresh=False)
            bar.update()

        try:
            running.run(arguments.name, missing, store, processes, said)
        except KeyboardInterrupt:
            kept = f"the results so far are in {arguments.json}, and the same command goes on from there"
            raise KeyboardInterrupt(
                f"stopped; {kept if arguments.json else 'nothing is kept without --json FILE'}"
            ) from None


def _animate(frames: "list[Figure]", path: str) -> None:
    """Write the frames as one picture that shows each for a second and a half, for ever."""
    import io

    from PIL import Image

    from npmnv2.atomic import writing

    pictures = []
    for frame in frames:
        file = io.BytesIO()
        frame.savefig(file, format="png")
        pictures.append(Image.open(file).convert("P", palette=Image.Palette.ADAPTIVE))
    with writing(path) as out:
        pictures[0].save(out, "GIF", save_all=True, append_images=pictures[1:], duration=1500, loop=0)
