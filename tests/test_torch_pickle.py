"""Pickles written to do harm, in both kinds of .pth: none does any, and each is refused in one line.

What they try is listed in `hostile.py`; random damage is the matter of `test_weights_fuzz.py`.
"""

import itertools
import os
import pickle
import tracemalloc

import hostile
import pytest

from npmnv2.weights import FormatError, source
from npmnv2.weights.formats import torch_file, torch_pickle

CONTAINERS = {"zip": hostile.zip_pth, "legacy": hostile.legacy_pth}


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Bytes -> state dict; the process stands in an empty folder, where a file `ran` would be the work of a pickle."""
    monkeypatch.chdir(tmp_path)

    def of(data):
        (tmp_path / "model.pth").write_bytes(data)
        return torch_file.read("model.pth")

    yield of
    assert set(os.listdir(tmp_path)) <= {"model.pth"}


@pytest.fixture
def refused(read):
    def check(data, match):
        with pytest.raises(FormatError, match=match) as caught:
            read(data)
        message = str(caught.value)
        assert message.startswith("model.pth: ") and "\n" not in message and len(message) < 400

    return check


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", hostile.CALLS)
def test_nothing_is_called(refused, name, container):
    body, match = hostile.CALLS[name]
    refused(CONTAINERS[container](b"\x80\x02" + body), match)
    refused(CONTAINERS[container](b"\x80\x02}" + hostile.text("weight") + body[:-1] + b"s."), match)


def test_the_pickles_above_would_run(tmp_path, monkeypatch):
    """Else it would be no wonder that nothing happens."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(b"\x80\x02" + hostile.CALLS["os.system"][0])
    assert os.listdir(tmp_path) == ["ran"]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", hostile.BOMBS)
@pytest.mark.parametrize("many", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_bombs(refused, name, container, many, monkeypatch):
    """Neither many steps nor much memory: at most what `torch_pickle.STEPS` objects take."""
    body, match = hostile.bombs(many)[name]
    data = CONTAINERS[container](b"\x80\x02" + body)
    monkeypatch.setattr(torch_pickle, "STEPS", torch_pickle.STEPS * many // 100_000)
    steps, step = itertools.count(), torch_pickle._Machine.step
    monkeypatch.setattr(torch_pickle._Machine, "step", lambda *arguments: (next(steps), step(*arguments)))
    if container == "zip":
        tracemalloc.start()  # slow, and once is enough
    refused(data, match)
    assert next(steps) <= torch_pickle.STEPS + 20  # a legacy file has a few small pickles before it
    if container == "zip":
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 64 << 20


def test_keys_of_one_hash_cost_what_other_keys_do(refused):
    """In a dictionary each would be compared with all before it; and then the test would not end for minutes."""
    body, match = hostile.bombs(500_000)["keys of one hash"]
    refused(hostile.zip_pth(b"\x80\x02" + body), match)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", hostile.TENSORS)
def test_tensors_lie(refused, name, container):
    body, match = hostile.TENSORS[name]
    refused(CONTAINERS[container](hostile.state_dict(body)), match)


def test_a_negative_claim_makes_no_room(refused):
    """A bfloat16 tensor is copied, so it must not get that far: strides of 0, 2^31 elements."""
    large = hostile.tensor(shape="J\xff\xff\xff\x7f", strides="K\0").replace(b"FloatStorage", b"BFloat16Storage")
    negative = hostile.tensor(shape="J\x01\x00\x00\x80", strides="K\0")
    pair = hostile.text("large") + large + b"s" + hostile.text("negative") + negative + b"s."
    refused(hostile.zip_pth(b"\x80\x02}" + pair), "claim 17179869176 bytes")


def test_a_very_long_prefix(read):
    name = "module." * 500_000  # each taken off for itself would take hours
    assert list(read(hostile.zip_pth(b"\x80\x02}" + hostile.text(name) + hostile.tensor() + b"s."))) == [name]
    with pytest.raises(FormatError, match="holds no MobileNet"):
        source.read("model.pth")


def test_a_pickle_that_unpacks_to_much(refused):
    long = b"\x80\x02" + hostile.text("x" * (1 << 24)) + b"."
    refused(hostile.zip_pth(long), "no dictionary of tensors by name, but a value of type str")
    refused(hostile.rebuilt(hostile.zip_pth(long), lambda n, c: [(n, c)], AlwaysPack()), "would unpack to")


class AlwaysPack:
    """For `hostile.rebuilt`, which packs at random."""

    def random(self):
        return 0.0
