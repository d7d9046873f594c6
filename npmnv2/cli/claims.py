"""`python -m npmnv2 lab claims`: statements about MobileNet to be judged first, then settled by running."""

import argparse
import random
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from npmnv2.cli.lab_options import misused
from npmnv2.cli.output import print_json

if TYPE_CHECKING:
    from npmnv2.labs.claims import Claim, Verdict

WIDTH = 100
WORDS = {"t": True, "true": True, "yes": True, "y": True, "f": False, "false": False, "no": False, "n": False}
HOW = """
To settle them: python -m npmnv2 lab claims --settle, or N --settle for one.
In a terminal `lab claims` asks them one by one, `lab claims N` asks one."""


def run(parser: argparse.ArgumentParser, words: list[str]) -> int:
    """Ask, list or settle."""
    from npmnv2.labs import claims

    every = claims.load()
    parser.add_argument("number", nargs="?", metavar="N", help=f"one claim, of 1 to {len(every)}")
    parser.add_argument("--list", action="store_true", help="the statements, without answers")
    parser.add_argument("--settle", action="store_true", help="the answers, with the figures that show them")
    parser.add_argument("--seed", type=int, metavar="S", help="in another order")
    parser.add_argument("--json", action="store_true", help="the list, or the answers, as one JSON document")
    arguments = parser.parse_args(words)
    number = arguments.number
    if number is not None and not (number.isascii() and number.isdecimal() and 1 <= int(number) <= len(every)):
        return misused(f"the claims are 1 to {len(every)}, one at a time or all; was {number}")
    if arguments.list and arguments.settle:
        return misused("--list shows no answers, --settle does; take one of them")
    chosen = [every[int(number) - 1]] if number else every
    if arguments.seed is not None:
        chosen = random.Random(arguments.seed).sample(chosen, len(chosen))
    verdicts = [claims.settle(claim) if arguments.settle else None for claim in chosen]
    if arguments.json:
        print_json({"claims": [_document(*pair) for pair in zip(chosen, verdicts, strict=True)]})
    elif arguments.list or arguments.settle or not _is_terminal():
        for claim, verdict in zip(chosen, verdicts, strict=True):
            print(*_text(claim), *([*_settled(claim, verdict), ""] if verdict else []), sep="\n")
        if not (arguments.list or arguments.settle):
            print(HOW)
    else:
        _ask(chosen)
    return 0


def _is_terminal() -> bool:
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def _ask(chosen: "Sequence[Claim]") -> None:
    """One after the other, with a tally."""
    from npmnv2.labs import claims

    print("Commit to an answer, then see. Enter skips, q ends.\n")
    right = answered = 0
    for claim in chosen:
        print(*_text(claim), sep="\n")
        try:
            said = _answer(claim)
        except EOFError:
            print()
            break
        if said == "q":
            break
        if isinstance(said, str):
            print()
            continue
        verdict = claims.settle(claim)
        is_right = claim.is_right(said, verdict)
        answered, right = answered + 1, right + is_right
        print("    right." if is_right else "    not so.", *_settled(claim, verdict), "", sep="\n")
    print(f"{right} of {answered} right.")


def _answer(claim: "Claim") -> bool | float | str:
    """True, False or a number; "" to skip, "q" to end."""
    prompt = "number" if claim.unit else "t or f"
    while True:
        said = input(f"    {prompt}? ").strip().lower()
        if said in ("", "q"):
            return said
        if not claim.unit and said in WORDS:
            return WORDS[said]
        if claim.unit:
            try:
                return float(said.rstrip("% "))
            except ValueError:
                pass
        print(f"    answer with {'a number such as 7.5' if claim.unit else 't or f'}, Enter to skip, q to end")


def _text(claim: "Claim") -> list[str]:
    """The number, the statement, and what is asked: not where it comes from, which would tell something."""
    asked = claim.kind
    if claim.unit:
        near = "exactly" if claim.within == 1 else f"within a factor of {claim.within:g}"
        asked += f", {claim.unit}, {near}"
    first, *others = textwrap.wrap(claim.says, WIDTH - 4)
    return [f"{claim.number:>2}. {first}", *(f"    {line}" for line in others), f"    [{asked}]"]


def _settled(claim: "Claim", verdict: "Verdict") -> list[str]:
    """The answer, the figures that show it, where it comes from, what settles it besides, and where to read on."""
    answer = f"{verdict.answer:.4g} {claim.unit}" if claim.unit else str(bool(verdict.answer)).lower()
    lines = textwrap.wrap(f"{answer}, {claim.settled}: {verdict.why}", WIDTH - 6)
    ends = [f"Source: {claim.source}. Read on: docs/{claim.read}", f"Settled by: {claim.link}"]
    return [f"    | {line}" for line in (*lines, *ends)]


def _document(claim: "Claim", verdict: "Verdict | None") -> dict[str, object]:
    asked = {name: getattr(claim, name) for name in ("number", "says", "kind", "unit", "within")}
    if verdict is None:
        return asked
    return {
        **asked,
        **verdict._asdict(),
        **{name: getattr(claim, name) for name in ("settled", "source", "read", "link")},
    }
