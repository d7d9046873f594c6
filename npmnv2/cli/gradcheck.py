"""`python -m npmnv2 gradcheck`."""

import argparse

from npmnv2.cli.output import print_json


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options to a parser."""
    gradcheck = commands.add_parser("gradcheck", help="check every gradient numerically and print the errors")
    gradcheck.add_argument(
        "--backend", choices=["numpy", "numba"], default="numpy", help="whose gradients (default: %(default)s)"
    )
    gradcheck.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    gradcheck.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from npmnv2.gradcheck.cases import run
    from npmnv2.show.tables import gradient_table

    checks = run(arguments.backend)
    passed = all(check.passed for check in checks)
    if arguments.json:
        print_json({"passed": passed, "checks": [{**c._asdict(), "passed": c.passed} for c in checks]})
    else:
        print(*gradient_table(checks), sep="\n")
    return 0 if passed else 1
