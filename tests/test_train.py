"""The training loop against a model whose loss can be worked out by hand; its bar; prediction; augmentation."""

import sys
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npmnv2
from npmnv2 import data, ops
from npmnv2.data import Dataset, load_digits
from npmnv2.data.augment import random_shift
from npmnv2.models import mobilenet_v2
from npmnv2.nn.base import Layer
from npmnv2.nn.optim import SGD
from npmnv2.nn.parameter import Parameter
from npmnv2.train.evaluation import evaluate, predict
from npmnv2.train.loop import train
from npmnv2.train.progress import Epoch, Position, cut_into_batches

CLASSES = ("a", "b", "c")


class Table(Layer):
    """Logits that are looked up by the image's only pixel, plus a bias that is trained; notes what happens to it."""

    def __init__(self, rows, fail_at=None):
        super().__init__()
        self.rows = np.random.default_rng(0).normal(size=(rows, len(CLASSES)))
        self.b = Parameter(np.zeros(len(CLASSES)), "bias")
        self.seen, self.gradients, self.fail_at = [], [], fail_at

    def forward(self, x):
        self.seen.append((self.training, x.ravel().astype(int).tolist()))
        if len(self.seen) == self.fail_at:
            raise KeyError("the model failed")
        return self.rows[self.seen[-1][1]] + self.b.value

    def backward(self, dout):
        self.gradients.append(dout)
        self.b.grad = dout.sum(axis=0)
        return dout


def _table(images=7, tested=4):
    """Image n is the number n; the held-out ones follow."""
    x = np.arange(float(images + tested)).reshape(-1, 1, 1, 1)
    y = np.random.default_rng(1).integers(0, len(CLASSES), images + tested)
    return Dataset(x[:images], y[:images], x[images:], y[images:], CLASSES), Table(images + tested)


def _few(images=24, tested=11):
    full = load_digits(held_out=1797 - images)
    return full._replace(test_x=full.test_x[:tested], test_y=full.test_y[:tested])


def _small(**options):
    return mobilenet_v2(10, 0.1, strides="digits", in_channels=1, **options)


def _frozen(model):
    """A learning rate of 0: nothing changes, so every loss is known."""
    return SGD(model.parameters(), lr=0.0)


def _without_seconds(history):
    return [epoch._replace(seconds=0.0) for epoch in history]


# -- what an epoch is


@pytest.mark.parametrize("batch_size, sizes", [(3, [3, 3, 1]), (7, [7]), (100, [7]), (1, [1] * 7), (6, [6, 1])])
def test_every_image_once_an_epoch_in_a_new_order(batch_size, sizes):
    data, model = _table()
    train(model, _frozen(model), data, 3, batch_size=batch_size)
    epochs, orders = len(sizes) + 1, []
    for k in range(3):
        *trained, tested = model.seen[k * epochs : (k + 1) * epochs]
        assert [len(x) for _, x in trained] == sizes and all(training for training, _ in trained)
        orders.append([x for _, batch in trained for x in batch])
        assert sorted(orders[-1]) == list(range(7))
        assert tested == (False, [7, 8, 9, 10])  # the held-out images, in eval mode
    assert len(set(map(tuple, orders))) == 3


@pytest.mark.parametrize("batch_size", [1, 3, 7])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_and_accuracy_are_means_over_images_whatever_the_batches(batch_size, smoothing):
    data, model = _table()
    (epoch,) = train(model, _frozen(model), data, 1, batch_size=batch_size, label_smoothing=smoothing)
    z = model.rows[:7]
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    q = (1 - smoothing) * np.eye(3)[data.train_y] + smoothing / 3
    assert epoch.loss == pytest.approx(-(q * log_p).sum() / 7, rel=1e-14)
    assert epoch.accuracy == np.mean(z.argmax(axis=1) == data.train_y)
    assert epoch.test_accuracy == np.mean(model.rows[7:].argmax(axis=1) == data.test_y)
    assert 0 < epoch.accuracy < 1 and epoch.epoch == 1 and epoch.seconds > 0


def test_the_gradient_of_the_loss_reaches_the_model_and_the_optimiser_steps():
    data, model = _table()
    train(model, SGD(model.parameters(), lr=0.5, momentum=0.0), data, 1, batch_size=7, label_smoothing=0.1)
    ((_, order), _), (dlogits,) = model.seen, model.gradients
    _, expected = ops.softmax_cross_entropy(model.rows[order], data.train_y[order], 0.1)
    np.testing.assert_array_equal(dlogits, expected)
    np.testing.assert_array_equal(model.b.value, -0.5 * expected.sum(axis=0))


def test_schedule_gets_every_step_and_sets_the_rate():
    data, model = _table()
    optimizer, calls = SGD(model.parameters(), lr=9.0), []

    def schedule(step, steps):
        calls.append((step, steps, optimizer.lr))
        return step / 10

    history = train(model, optimizer, data, 2, batch_size=3, schedule=schedule)
    assert calls == [(step, 6, (step - 1) / 10 if step else 9.0) for step in range(6)]
    assert [epoch.lr for epoch in history] == [0.2, 0.5]


def test_without_a_schedule_the_optimiser_keeps_its_rate():
    data, model = _table()
    optimizer = SGD(model.parameters(), lr=0.25)
    assert [epoch.lr for epoch in train(model, optimizer, data, 2)] == [0.25, 0.25]


def test_a_schedule_that_gives_no_number_is_named():
    data, model = _table()
    for value in (None, float("nan"), "0.1"):
        with pytest.raises((TypeError, ValueError), match=r"^lr must "):
            train(model, _frozen(model), data, 1, schedule=lambda step, steps, value=value: value)


def test_report_is_called_as_each_epoch_ends():
    data, model = _table()
    reported = []

    def report(epoch):
        assert isinstance(epoch, Epoch) and len(model.gradients) == 3 * (len(reported) + 1)
        reported.append(epoch)

    assert train(model, _frozen(model), data, 4, batch_size=3, report=report) == reported
    assert [epoch.epoch for epoch in reported] == [1, 2, 3, 4]


def test_report_can_stop_the_run():
    data, model = _table()

    def report(epoch):
        raise StopIteration

    with pytest.raises(StopIteration):
        train(model, _frozen(model), data, 4, report=report)
    assert len(model.gradients) == 1


@pytest.mark.parametrize("notebook", [True, False])
def test_a_notebook_has_a_bar_and_a_pipe_has_none(notebook, capsys, monkeypatch):
    """Neither's stderr is a terminal."""
    if notebook:
        monkeypatch.setitem(sys.modules, "ipykernel.zmqshell", types.ModuleType("zmqshell"))
    dataset, model = _table()
    (first, _) = train(model, SGD([model.b], lr=0.1), dataset, epochs=2)
    out, err = capsys.readouterr()
    assert out == ""
    if notebook:
        assert "epoch 1/2" in err and "epoch 2/2" in err
        assert f"loss {first.loss:.3f}, held out {100 * first.test_accuracy:.1f} %" in err
    else:
        assert err == ""


def test_without_stderr_there_is_no_bar(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel.zmqshell", types.ModuleType("zmqshell"))
    monkeypatch.setattr(sys, "stderr", None)
    dataset, model = _table()
    assert len(train(model, SGD([model.b], lr=0.1), dataset, epochs=1)) == 1


def test_augment_sees_training_images_only_and_draws_from_the_seed():
    data, model = _table()
    drawn = []

    def augment(x, rng):
        assert x.max() < 7
        drawn.append(rng.random())
        return x[::-1]

    train(model, _frozen(model), data, 1, batch_size=3, augment=augment, seed=5)
    train(model, _frozen(model), data, 1, batch_size=3, augment=augment, seed=5)
    train(model, _frozen(model), data, 1, batch_size=3, augment=augment, seed=6)
    assert drawn[:3] == drawn[3:6] and not set(drawn[:3]) & set(drawn[6:])


def test_the_data_are_left_alone():
    data, model = _table()
    before = [part.copy() for part in data[:4]]
    train(model, SGD(model.parameters(), lr=0.1), data, 2, augment=random_shift)
    for part, kept in zip(data[:4], before, strict=True):
        np.testing.assert_array_equal(part, kept)


@pytest.mark.parametrize("name, value", [("epochs", 0), ("epochs", -1), ("batch_size", 0), ("batch_size", -32)])
def test_nothing_to_do_is_refused_before_anything_is_done(name, value):
    data, model = _table()
    with pytest.raises(ValueError, match=f"^{name} must be at least 1; was {value}$"):
        train(model, _frozen(model), data, **{"epochs": 1, name: value})
    assert not model.seen


# -- real networks


def test_the_same_seed_is_the_same_run_to_the_bit(either):
    runs = []
    for seed in (3, 3, 4):
        model = _small(seed=1)
        optimizer = SGD(model.parameters(), lr=0.05)
        history = train(model, optimizer, _few(), 2, batch_size=10, augment=random_shift, seed=seed)
        state = {name: value.tobytes() for name, value in model.state_dict().items()}
        runs.append((_without_seconds(history), state))
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[2][0] and runs[0][1] != runs[2][1]


def test_a_network_learns_a_few_digits_by_heart():
    few = _few(16)
    few = few._replace(test_x=few.train_x, test_y=few.train_y)
    model = _small(dropout=0)
    with npmnv2.backend("numpy"):
        history = train(model, SGD(model.parameters(), lr=0.1, momentum=0.0), few, 60, batch_size=16)
    assert history[0].loss > 1.5 and history[-1].loss < 0.05
    assert history[-1].accuracy == history[-1].test_accuracy == 1.0  # by batch statistics, and by the running ones


def test_a_batch_of_one_trains_while_there_are_pixels_to_average():
    model = _small()
    history = train(model, SGD(model.parameters(), lr=0.01), _few(3, 2), 1, batch_size=1)
    assert np.isfinite(history[0].loss)


def test_a_last_batch_of_one_pixel_has_no_variance_and_says_so():
    """Strides that leave 1x1 pixels, 5 images, batches of 4: the last one holds one value a channel."""
    model = mobilenet_v2(10, 0.1, in_channels=1)
    with pytest.raises(ValueError, match="x must hold at least 2 values a channel for an unbiased variance"):
        train(model, SGD(model.parameters(), lr=0.01), _few(5, 2), 1, batch_size=4)


def test_a_loss_that_is_nan_comes_back_and_ends_nothing():
    """The history says it; whether to go on is for `report` to decide (the command line stops)."""
    data, model = _table()
    model.rows[2] = np.nan
    reported = []
    history = train(model, SGD(model.parameters(), lr=0.1), data, 2, batch_size=3, report=reported.append)
    assert history == reported and len(history) == 2
    assert all(np.isnan(epoch.loss) for epoch in history)


@pytest.mark.parametrize("fail_at", [1, 3, 4])
def test_an_exception_passes_through(fail_at):
    data, _ = _table()
    model = Table(11, fail_at=fail_at)
    with pytest.raises(KeyError, match="the model failed"):
        train(model, _frozen(model), data, 1, batch_size=3)
    assert len(model.seen) == fail_at
    assert model.training  # also when it failed while predicting, in eval mode


# -- batches


@settings(max_examples=100, deadline=None)
@given(count=st.integers(0, 50), batch_size=st.integers(1, 60), seed=st.integers(0, 9))
def test_batches_deal_out_every_index_once(count, batch_size, seed):
    dealt = list(cut_into_batches(np.random.default_rng(seed).permutation(count), batch_size))
    assert sorted(k for batch in dealt for k in batch) == list(range(count))
    assert all(len(batch) == batch_size for batch in dealt[:-1])
    assert all(1 <= len(batch) <= batch_size for batch in dealt)


def test_the_images_are_dealt_out_shuffled():
    order = Position(seed=0).remaining(1000)
    assert sorted(order) == list(range(1000)) and abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.1


# -- predict and evaluate


@pytest.mark.parametrize("batch_size", [1, 4, 11, 256])
def test_predict_is_the_model_in_eval_mode_a_batch_at_a_time(batch_size):
    model, x = _small(dtype=np.float64), np.random.default_rng(0).normal(size=(11, 8, 8, 1))
    model(x)  # moves the running statistics off 0 and 1
    expected = model.eval()(x)
    model.train()
    np.testing.assert_allclose(predict(model, x, batch_size), expected, rtol=1e-12, atol=1e-13)


def test_predict_asks_for_every_image_once_in_order():
    data, model = _table(10)
    logits = predict(model, data.train_x, 4)
    assert model.seen == [(False, [0, 1, 2, 3]), (False, [4, 5, 6, 7]), (False, [8, 9])]
    np.testing.assert_array_equal(logits, model.rows[:10])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("call", [predict, lambda model, x: evaluate(model, x, np.zeros(len(x), int))])
def test_the_mode_is_restored(call, training):
    model = _small().train(training)
    x = np.zeros((2, 8, 8, 1), np.float32)
    before = model.state_dict()
    call(model, x)
    for bad in (x[..., :0], x.astype(np.float64), x[0]):
        with pytest.raises((ValueError, TypeError), match=r"^x must "):
            call(model, bad)
    assert model.training is training and all(layer.training is training for _, layer in model.named_layers())
    for name, value in model.state_dict().items():  # and looking changes nothing
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("call", [predict, lambda model, x: evaluate(model, x, np.zeros(len(x), int))])
def test_a_layer_that_was_frozen_stays_frozen(call):
    model = _small()
    model.layers["stem"].bn.eval()
    before = [layer.training for _, layer in model.named_layers()]
    call(model, np.zeros((2, 8, 8, 1), np.float32))
    assert [layer.training for _, layer in model.named_layers()] == before and before.count(False) == 1


def test_training_leaves_frozen_layers_frozen():
    model = _small()
    model.layers["stem"].bn.eval()
    before = model.state_dict()
    with npmnv2.backend("numpy"):
        train(model, SGD(model.parameters(), lr=0.01), _few(8, 2), 2)
    assert model.training and not model.layers["stem"].bn.training and model.layers["b0.0"].training
    np.testing.assert_array_equal(model.layers["stem"].bn.mean.value, before["stem.bn.mean"])
    assert (model.layers["b0.0"].dw.bn.mean.value != before["b0.0.dw.bn.mean"]).any()


def test_training_begins_in_training_mode():
    data, model = _table()
    train(model.eval(), _frozen(model), data, 1, batch_size=7)
    assert [training for training, _ in model.seen] == [True, False] and model.training


@pytest.mark.parametrize(
    "y, error, match",
    [
        (np.zeros((6, 1), int), ValueError, r"^y must have shape \(6,\), one class for each image; was \(6, 1\)$"),
        (np.zeros(1, int), ValueError, r"^y must have shape \(6,\)"),
        (np.zeros(5, int), ValueError, r"^y must have shape \(6,\)"),
        (np.zeros(6), TypeError, "^y must be a plain NumPy array of integers; was float64"),
        ([0] * 6, TypeError, "^y must be a plain NumPy array of integers; was list"),
    ],
)
def test_labels_are_not_broadcast(y, error, match):
    model = Table(6)
    with pytest.raises(error, match=match):
        evaluate(model, np.arange(6.0).reshape(6, 1, 1, 1), y)
    assert not model.seen


@pytest.mark.parametrize(
    "name, error, match",
    [
        ("train_y", ValueError, r"data.train_y must have shape \(7,\), .*; was \(6,\)"),
        ("train_x", ValueError, r"data.train_y must have shape \(6,\), .*; was \(7,\)"),
        ("test_y", ValueError, r"data.test_y must have shape \(4,\), .*; was \(3,\)"),
    ],
)
def test_images_and_labels_must_be_as_many(name, error, match):
    data, model = _table()
    with pytest.raises(error, match=match):
        train(model, _frozen(model), data._replace(**{name: getattr(data, name)[1:]}), 1)
    with pytest.raises(ValueError, match=rf"data.{name[:-1]}x must hold at least one image|{match[:12]}"):
        train(model, _frozen(model), data._replace(**{name: getattr(data, name)[:0]}), 1)
    assert not model.seen


@pytest.mark.parametrize(
    "options, error, match",
    [
        ({"epochs": 1.5}, TypeError, "epochs must be an integer; was 1.5"),
        ({"epochs": "1"}, TypeError, "epochs must be an integer; was '1'"),
        ({"epochs": True}, TypeError, "epochs must be an integer; was True"),
        ({"batch_size": 32.0}, TypeError, "batch_size must be an integer; was 32.0"),
        ({"seed": -1}, ValueError, "seed must be at least 0; was -1"),
        ({"seed": None}, TypeError, "seed must be an integer; was None"),
    ],
)
def test_numbers_of_the_wrong_kind_are_refused_before_anything_is_done(options, error, match):
    data, model = _table()
    with pytest.raises(error, match=match):
        train(model, _frozen(model), data, **{"epochs": 1, **options})
    assert not model.seen


def test_an_optimizer_of_another_model_is_refused():
    data, model = _table()
    _, other = _table()
    with pytest.raises(ValueError, match="optimizer must hold parameters of this model"):
        train(model, _frozen(other), data, 1)
    assert not model.seen
    small = _small()  # fine-tuning: some of the model's are enough
    with npmnv2.backend("numpy"):
        train(small, SGD(small.layers["fc"].parameters(), lr=0.01), _few(8, 2), 1)


def test_predict_and_the_helpers_name_what_is_bad():
    model, x, rng = Table(6), np.zeros((2, 4, 4, 1)), np.random.default_rng(0)
    for call, error, match in (
        (lambda: predict(model, x[:0]), ValueError, "x must hold at least one image"),
        (lambda: evaluate(model, x[:0], np.zeros(0, int)), ValueError, "x must hold at least one image"),
        (lambda: predict(model, x, 0), ValueError, "batch_size must be at least 1; was 0"),
        (lambda: list(cut_into_batches(np.arange(5), -1)), ValueError, "batch_size must be at least 1; was -1"),
        (lambda: random_shift(x, rng, most=-1), ValueError, "most must be at least 0; was -1"),
        (lambda: random_shift(x, rng, most=0.5), TypeError, "most must be an integer; was 0.5"),
        (lambda: random_shift(x, rng, share=2), ValueError, "share must lie between 0 and 1; was 2"),
        (lambda: random_shift(x[0], rng), ValueError, "x must have 4 axes"),
    ):
        with pytest.raises(error, match=match):
            call()


def test_evaluate_is_the_share_right():
    model, right = Table(6), np.random.default_rng(0).normal(size=(6, 3)).argmax(axis=1)
    x = np.arange(6.0).reshape(6, 1, 1, 1)
    for wrong in range(7):
        y = right.copy()
        y[:wrong] = (y[:wrong] + 1) % 3
        assert evaluate(model, x, y, batch_size=4) == (6 - wrong) / 6


# -- random_shift


def _shifts(image, most):
    """Every image that `random_shift` may give, from its definition: a pixel from `dy`, `dx` away, or the nearest."""
    H, W, _ = image.shape
    for dy in range(-most, most + 1):
        for dx in range(-most, most + 1):
            rows, cols = np.clip(np.arange(H) + dy, 0, H - 1), np.clip(np.arange(W) + dx, 0, W - 1)
            yield image[rows][:, cols].tobytes()


@pytest.mark.parametrize("most", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_random_shift_moves_by_up_to_most_in_every_direction(most, dtype):
    x = np.random.default_rng(0).normal(size=(1, 5, 4, 2)).astype(dtype).repeat(400, axis=0)
    before = x.copy()
    out = random_shift(x, np.random.default_rng(1), most, share=1.0)
    np.testing.assert_array_equal(x, before)
    assert out.shape == x.shape and out.dtype == dtype and not np.shares_memory(out, x)
    assert {image.tobytes() for image in out} == set(_shifts(x[0], most))  # all of them, nothing else


def test_random_shift_moves_the_share_asked_for():
    x = np.random.default_rng(0).normal(size=(1, 6, 6, 1)).repeat(4000, axis=0)
    for share in (0.0, 0.25, 0.5, 1.0):
        moved = (random_shift(x, np.random.default_rng(1), share=share) != x).any(axis=(1, 2, 3)).mean()
        assert moved == pytest.approx(share * 8 / 9, abs=0.03)  # one draw in nine is not to move
    np.testing.assert_array_equal(random_shift(x, np.random.default_rng(1), most=0, share=1.0), x)


def test_random_shift_draws_for_each_image_and_from_the_generator_alone():
    x = np.random.default_rng(0).normal(size=(1, 6, 6, 1)).repeat(50, axis=0)
    first, again = (random_shift(x, np.random.default_rng(2)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert len({image.tobytes() for image in first}) > 3
    assert random_shift(x[:0], np.random.default_rng(2)).shape == (0, 6, 6, 1)


def test_the_digits_come_out_of_a_shift_as_digits_do():
    few = data.load_digits(held_out=1700)
    out = random_shift(few.train_x, np.random.default_rng(0))
    assert out.min() >= -1 and out.max() <= 1 and out.dtype == np.float32
