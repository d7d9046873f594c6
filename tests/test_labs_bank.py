"""The bank of mistakes: no wrong version passes, each is named by its cause, no right version is refused."""

import pytest
from labs import lab1, lab2, lab3, lab4, lab5, lab6, lab7

from npmnv2 import labs
from npmnv2.labs.causes import CAUSES
from npmnv2.labs.grade import grade

BANKS = {1: lab1, 2: lab2, 3: lab3, 4: lab4, 5: lab5, 6: lab6, 7: lab7}


def _verdict(number, source):
    return grade(labs.find(number), source, f"lab{number}.py", limit=20)


RIGHT = [(number, name) for number, bank in BANKS.items() for name in bank.RIGHT]


@pytest.mark.parametrize(
    "number, name", [pytest.param(*one, marks=[pytest.mark.slow] * (k % 3 > 0)) for k, one in enumerate(RIGHT)]
)
def test_a_right_solution_passes_however_it_is_written(number, name):
    verdict = _verdict(number, BANKS[number].RIGHT[name])
    assert verdict.passed, verdict
    assert verdict.score == 1 and verdict.cause is None
    assert verdict.bytes is None if labs.find(number).counted is None else verdict.bytes > 0
    assert verdict.madds is None or verdict.madds >= labs.find(number).least


@pytest.mark.parametrize("number", BANKS)
@pytest.mark.parametrize("part", ["FIRST", "LATER"])
def test_some_wrong_versions_are_named(number, part):
    """Each seventh of the bank: whoever changes the grader runs all, `-m slow`."""
    for wrong in getattr(BANKS[number], part)[number % 3 :: 7]:
        verdict = _verdict(number, wrong.source)
        assert not verdict.passed and verdict.cause in (wrong.cause, "unexplained"), (wrong.name, verdict)


@pytest.mark.slow
@pytest.mark.parametrize("number", BANKS)
@pytest.mark.parametrize("part, named_at_least", [("FIRST", 0.95), ("LATER", 0.85)])
def test_wrong_versions_are_named(number, part, named_at_least):
    bank = getattr(BANKS[number], part)
    named, misled = 0, []
    for wrong in bank:
        verdict = _verdict(number, wrong.source)
        assert not verdict.passed, wrong.name
        assert verdict.cause in CAUSES, verdict
        named += verdict.cause == wrong.cause
        if verdict.cause not in (wrong.cause, "unexplained"):
            misled.append(f"{wrong.name}: {verdict.cause}, not {wrong.cause}: {verdict.says}")
        elif verdict.cause != wrong.cause:
            print(f"  {wrong.name}: unexplained, not {wrong.cause}: {verdict.says}")
    print(f"lab {number}, {part.lower()} part: {named} of {len(bank)} named by their cause, {len(misled)} misled")
    assert misled == [], "\n".join(misled)
    assert named >= named_at_least * len(bank)
