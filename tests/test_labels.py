"""Names of classes: ImageNet's, and files of them."""

import hashlib
import json
import re

import pytest

from npmnv2.data import labels
from npmnv2.data.labels import imagenet_labels, read_labels

NAMES = ["tench", "great white shark", "caf\u00e9"]


def test_imagenets_are_the_1000_that_their_readme_describes():
    readme = labels.FILE.with_name("README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(labels.FILE.read_bytes()).hexdigest() in readme
    names = imagenet_labels()
    assert len(names) == 1000 and all(name == name.strip() != "" for name in names)
    assert {names[k] for k in (0, 1, 281, 388, 999)} == {"tench", "goldfish", "tabby", "giant panda", "toilet tissue"}
    assert len(set(names)) == 1000 and (names[134], names[517]) == ("crane bird", "crane")
    assert imagenet_labels(background=True) == ["background", *names]


def test_a_damaged_list_says_so(tmp_path, monkeypatch):
    for content in (b"tench\n", b"\xff" * 2000):
        monkeypatch.setattr(labels, "FILE", tmp_path / "labels.txt")
        labels.FILE.write_bytes(content)
        with pytest.raises(ValueError, match="install npmnv2 again"):
            imagenet_labels()


@pytest.mark.parametrize(
    "content",
    [
        "\n".join(NAMES),
        "\n".join(NAMES) + "\n\n",
        "\r\n".join(NAMES) + "\r\n",
        "\ufeff" + "\n".join(NAMES),
        json.dumps(NAMES),
        "  " + json.dumps(NAMES, ensure_ascii=False),
        json.dumps({str(k): ["n0144", name] for k, name in enumerate(NAMES)}),
        json.dumps({str(2 - k): name for k, name in enumerate(NAMES[::-1])}),
        json.dumps({"architectures": ["MobileNetV2"], "id2label": {str(k): name for k, name in enumerate(NAMES)}}),
    ],
    ids=["text", "blank end", "crlf", "bom", "list", "unescaped", "keras", "dictionary", "hugging face"],
)
def test_every_form_is_read(content, tmp_path):
    path = tmp_path / "names"
    path.write_bytes(content.encode())
    assert read_labels(path) == NAMES


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "is empty; it must hold one name a line"),
        (b"\n \n", "is empty"),
        (b"[]", "is empty"),
        (b"{}", "is empty"),
        (b"a\n\nb\n", "the name of class 1 (from 0) is empty"),
        (b'["a", ""]', "the name of class 1 (from 0) is empty"),
        (b'["a", 3]', "is not a list of names: the name of class 1 (from 0) must be a text; was 3"),
        (b'["a", []]', "is not a list of names: the name of class 1 (from 0) must be a text; was []"),
        (b'{"0": "a", "2": "b"}', "is not a list of names: the keys of the dictionary must be the numbers 0 to 1"),
        (b'{"tench": 0}', "is not a list of names: the keys of the dictionary must be the numbers 0 to 0"),
        (b'{"id2label": 3}', "is not a list of names: JSON must hold a list of names"),
        (b'["a",', "is not a list of names: Expecting value"),
        (b"[" * 100_000, "is not a list of names: "),
        (b"\x93NUMPY\0\0", "is not a list of names: it must be UTF-8 text or JSON"),
        (b"caf\xe9", "is not a list of names: it must be UTF-8 text or JSON"),
        (b"a\n" * 9_000_000, "is not a list of names: it must be UTF-8 text or JSON"),
    ],
    ids=lambda value: repr(value[:24]),
)
def test_what_is_wrong_is_one_line_that_begins_with_the_path(content, said, tmp_path):
    path = tmp_path / "names"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="^" + re.escape(f"{path}: {said}")) as caught:
        read_labels(path)
    assert "\n" not in str(caught.value)
