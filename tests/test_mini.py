"""`npmnv2/mini.py` is the package, to the last digits: forward, running statistics, every gradient, steps of SGD."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import npmnv2
from npmnv2 import mini, ops
from npmnv2.models import mobilenet_v2
from npmnv2.models.mobilenet_v2 import ROWS

SOURCE = Path(mini.__file__)
STRIDES = [None, (1, 1, 1, 2, 1, 1, 2, 1)]


def named(model):
    """The parameters of the page under the names of the package, in their order; and its running statistics."""
    blocks = [f"b{r}.{k}" for r, row in enumerate(ROWS) for k in range(row.n)]
    parameters, statistics = {}, {}
    for name, layer in zip(["stem", *blocks, "head"], model.layers, strict=True):
        steps = {"": layer} if isinstance(layer, mini.ConvBN) else dict(zip(parts(layer), layer.steps, strict=True))
        for part, step in steps.items():
            path = f"{name}{part}"
            parameters[f"{path}.conv.w"] = step.w
            parameters[f"{path}.bn.gamma"], parameters[f"{path}.bn.beta"] = step.gamma, step.beta
            statistics[f"{path}.bn.mean"], statistics[f"{path}.bn.var"] = step.mean, step.var
    parameters["fc.w"], parameters["fc.b"] = model.w, model.b
    return parameters, statistics


def parts(block):
    return [".expand", ".dw", ".project"][3 - len(block.steps) :]


def pair(strides, width=0.1, channels=2, classes=5):
    """The network of the package with random numbers everywhere, and that of the page with the same ones."""
    rng = np.random.default_rng(7)
    own = mobilenet_v2(classes, width, strides=strides or "imagenet", in_channels=channels, dropout=0, dtype=np.float64)
    state = {
        name: rng.uniform(0.5, 1.5, value.shape) if name.endswith(("gamma", "var")) else rng.normal(0, 0.3, value.shape)
        for name, value in own.state_dict().items()
    }
    own.load_state_dict(state)
    page = mini.MobileNetV2(classes, width, strides, channels, dtype=np.float64)
    parameters, statistics = named(page)
    assert [*parameters] == [*own.named_parameters()]
    assert {*parameters, *statistics} == set(state)
    for name, p in parameters.items():
        p.value[...] = state[name]
    for name, value in statistics.items():
        value[...] = state[name]
    return own, page


def close(a, b):
    assert a.shape == b.shape
    assert abs(a - b).max() <= 1e-10 * max(1.0, abs(b).max())


@pytest.mark.parametrize("strides", STRIDES)
def test_the_network_is_the_package_s(strides):
    own, page = pair(strides)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(8, 70, 90, 2) if strides is None else (8, 11, 14, 2))
    labels = np.arange(8) % 5
    optimizer = npmnv2.optim.SGD(own.parameters(), 1e-4, momentum=0.9)
    parameters, statistics = named(page)
    for _ in range(2):  # the second step has a velocity
        logits = own(x)
        close(page.forward(x, training=True), logits)
        loss, dlogits = ops.softmax_cross_entropy(logits, labels)
        page_loss, page_dlogits = mini.cross_entropy(logits, labels)
        assert abs(loss - page_loss) < 1e-12
        close(page_dlogits, dlogits)
        dlogits = dlogits + rng.normal(size=dlogits.shape)  # not only what this loss can give
        close(page.backward(dlogits), own.backward(dlogits))
        for name, p in own.named_parameters().items():
            close(parameters[name].grad, p.grad)
        optimizer.step()
        mini.sgd(page.parameters(), 1e-4)
        for name, p in own.named_parameters().items():
            close(parameters[name].value, p.value)
        for name, value in own.state_dict().items():
            if name in statistics:
                close(statistics[name], value)
    close(page.forward(x), own.eval()(x))


def test_the_rows_widths_and_sizes_are_the_package_s():
    assert [tuple(row) for row in ROWS] == mini.ROWS
    for width in (0.1, 0.35, 0.5, 0.75, 1.0, 1.3, 1.4):
        page = mini.MobileNetV2(1000, width)
        assert sum(p.value.size for p in page.parameters()) == sum(
            p.value.size for p in mobilenet_v2(1000, width).parameters()
        )


def test_the_gradient_check_of_the_page():
    by_differences, by_backward = mini.check_gradient()
    assert abs(by_differences - by_backward) < 1e-5 * abs(by_backward)


def test_it_is_one_page_of_numpy():
    text = SOURCE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert {getattr(node, "module", None) or node.names[0].name for node in imports} == {
        "functools",
        "pathlib",
        "numpy",
    }


def test_it_learns(capsys):
    """Two epochs of the ten, which is enough to see that the digits are read: a tenth would be chance."""
    assert mini.main(epochs=2) > 0.25
    assert "unseen digits" in capsys.readouterr().out


def test_a_wrong_backward_is_no_success(monkeypatch):
    monkeypatch.setattr(mini, "relu6", lambda x: (np.clip(x, 0, 6), lambda dout: dout))
    with pytest.raises(AssertionError, match="a backward is wrong"):
        mini.main(epochs=1)


def test_there_is_no_backward_from_inference():
    model = mini.MobileNetV2(3, 0.1, channels=1)
    x = np.ones((2, 32, 32, 1), np.float32)
    model.forward(x, training=True)
    model.forward(x)
    with pytest.raises(TypeError):
        model.backward(np.ones((2, 3), np.float32))


@pytest.mark.slow
def test_it_reads_the_digits():
    run = subprocess.run([sys.executable, "-m", "npmnv2.mini"], capture_output=True, text=True)
    assert run.returncode == 0 and run.stderr == ""
    assert "epoch 10 of 10" in run.stdout
