"""What the shipped recipe reaches on the digits, from the first step to the last. -m slow."""

import time

import pytest

from npmnv2.runtime.threads import limit_threads
from npmnv2.train.session import begin
from npmnv2.train.settings import resolve


@pytest.mark.slow
def test_the_digits_are_learned_in_three_minutes():
    session = begin(resolve({"data": "digits"}))
    started = time.process_time()
    with limit_threads(1):
        history = session.run()
    assert time.process_time() - started < 180  # on one core
    last = history[-1]
    assert last.test_accuracy >= 0.985
    assert last.ema_accuracy >= last.test_accuracy
