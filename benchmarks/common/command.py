"""What every script here does: read its options, measure, keep the figures, draw, print.

Nothing here loads NumPy before it must: `fusion.py` and `training_profile.py`, which measure in their own process,
choose BLAS's kernels before that.
"""

import argparse
import functools
import json
import sys
from pathlib import Path

from common.machine import STAND_IN, become


def arguments(description, quick, rounds=5, patience=300, more=lambda parser: None):
    """The options that all scripts share, as given; what cannot work is one line here, before minutes of work.

    ``more(parser)`` adds a script's own.
    """
    from npmnv2.cli.options import check_options, check_writable
    from npmnv2.validate import check_number

    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--rounds", type=int, default=rounds, help="turns each contestant gets on every case")
    parser.add_argument(
        "--patience", type=float, default=patience, metavar="S", help="wait so long for others to finish"
    )
    parser.add_argument("--json", metavar="FILE", help="write every figure and the environment")
    parser.add_argument("--plot", metavar="FILE", help="draw the picture")
    parser.add_argument("--core", choices=[*STAND_IN], help="on a machine with AVX-512: stand in for one without")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    more(parser)
    args = parser.parse_args()
    try:
        check_number(args.rounds, "--rounds", 1)
        check_number(args.patience, "--patience", 0)
        check_options(args)  # --plot
        if args.json is not None:
            check_writable(args.json, "--json")
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None
    if args.core:
        become(args.core)
    return args


def carry_out(args, run, show, draw, prepare=None):
    """Be a contestant if `args` say so; otherwise measure, keep the figures, draw them and print them.

    ``run(args)`` gives the report, ``show(report)`` prints it, ``draw(report, path)`` draws it. ``prepare(name, case)``
    gives the calls of a contestant, see `measure.serve`; None where a script has none.
    """
    if args.worker:
        from common.measure import serve

        serve(functools.partial(prepare, args.worker))
        return
    report = run(args)
    if args.json:  # before anything is printed: the reader of a pipe may go
        write_json(args.json, report)
    if args.plot:
        draw(report, args.plot)
    show(report)


def write_json(path, document):
    """What `--json` is for."""
    Path(path).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def progress(text):
    """One line on a terminal's stderr, overwritten by the next; an empty text clears it."""
    if sys.stderr.isatty():
        print(f"\r{text:<78}" + "\r" * (not text), end="", file=sys.stderr, flush=True)
