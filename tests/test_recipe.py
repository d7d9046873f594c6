"""What the shipped recipe reaches on the digits, from the first step to the last. -m slow."""

import pytest

from npmnv2.runtime.threads import limit_threads
from npmnv2.train.session import begin
from npmnv2.train.settings import resolve


@pytest.mark.slow
def test_the_digits_are_learned():
    session = begin(resolve({"data": "digits"}))
    with limit_threads(1):
        history = session.run()
    last = history[-1]
    assert last.test_accuracy >= 0.985
    assert last.ema_accuracy >= last.test_accuracy
