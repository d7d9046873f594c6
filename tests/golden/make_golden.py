"""Make the golden files, with PyTorch and torchvision (float64, on the CPU). From the folder tests/ run

    python -m golden.make_golden

The functions have the names of those in `recipe.py` and return the same dictionaries, computed by PyTorch. Inputs are
`recipe.draw`, so nothing is random; the versions that made a file are in its entry "versions". Rewriting the files is
right when a case was added, never to make a test pass.
"""

import os
import platform
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from golden import recipe
from golden.recipe import Array, Results
from golden.torchvision_models import torchvision
from torchvision.ops import Conv2dNormActivation

FOLDER = Path(__file__).parent


def tensor(value: Array) -> torch.Tensor:
    """A float64 leaf that collects a gradient."""
    return torch.from_numpy(np.array(value, np.float64)).requires_grad_()


def nchw(x: torch.Tensor) -> torch.Tensor:
    return x.movedim(-1, 1)


def nhwc(x: torch.Tensor) -> torch.Tensor:
    return x.movedim(1, -1)


def numpy(x: Any) -> Array:
    return np.array(x.detach().numpy(), order="C")  # a copy: running statistics change in place


# -- single operations


def conv(case: recipe.Conv) -> Results:
    x, w = (tensor(value) for value in recipe.conv_inputs(case))
    (top, bottom), (left, right) = case.pads
    xp = F.pad(nchw(x), (left, right, top, bottom))
    out = nhwc(F.conv2d(xp, w.permute(3, 2, 0, 1).contiguous(), None, case.stride, 0, case.dilation, case.groups))
    out.backward(torch.from_numpy(recipe.draw(f"{case.name}/dout", tuple(out.shape))))
    return {"out": numpy(out), "dx": numpy(x.grad), "dw": numpy(w.grad)}


def norm(case: recipe.Norm) -> Results:
    given = recipe.norm_inputs(case)
    mean, var = torch.from_numpy(given["mean"].copy()), torch.from_numpy(given["var"].copy())
    results = {}
    for mode in ("train", "eval"):
        x, gamma, beta = tensor(given["x"]), tensor(given["gamma"]), tensor(given["beta"])
        out = nhwc(F.batch_norm(nchw(x), mean, var, gamma, beta, mode == "train", case.momentum, case.eps))
        out = F.relu6(out) if case.relu6 else out
        out.backward(torch.from_numpy(given["dout"]))
        results[f"{mode}/out"], results[f"{mode}/dx"] = numpy(out), numpy(x.grad)
        results[f"{mode}/dgamma"], results[f"{mode}/dbeta"] = numpy(gamma.grad), numpy(beta.grad)
    return results | {"mean": numpy(mean), "var": numpy(var)}


def loss(case: recipe.Loss) -> Results:
    given, labels = recipe.loss_inputs(case)
    logits = tensor(given)
    value = F.cross_entropy(logits, torch.from_numpy(labels), label_smoothing=case.label_smoothing)
    value.backward()
    return {"loss": numpy(value), "dlogits": numpy(logits.grad), "softmax": numpy(logits.softmax(1))}


def pool(case: recipe.Pool) -> Results:
    x = tensor(recipe.draw(f"{case.name}/x", case.x))
    if case.size:
        arguments = {"ceil_mode": False, "count_include_pad": case.count_padding}
        out = nhwc(F.avg_pool2d(nchw(x), case.size, case.stride, case.padding, **arguments))
    else:
        out = F.adaptive_avg_pool2d(nchw(x), 1).flatten(1)
    out.backward(torch.from_numpy(recipe.draw(f"{case.name}/dout", tuple(out.shape))))
    return {"out": numpy(out), "dx": numpy(x.grad)}


def linear() -> Results:
    x, w, b = (
        tensor(recipe.draw(f"linear/{name}", shape)) for name, shape in (("x", (3, 5)), ("w", (5, 4)), ("b", (4,)))
    )
    out = F.linear(x, w.T, b)
    out.backward(torch.from_numpy(recipe.draw("linear/dout", tuple(out.shape))))
    return {"out": numpy(out), "dx": numpy(x.grad), "dw": numpy(w.grad), "db": numpy(b.grad)}


def activations() -> Results:
    results = {}
    for name, function in (("relu", F.relu), ("relu6", partial(F.hardtanh, min_val=0.0, max_val=6.0))):
        x = tensor(recipe.KINKS)
        out = function(x)
        out.backward(torch.from_numpy(recipe.draw("activations/dout", recipe.KINKS.shape)))
        results[f"{name}/out"], results[f"{name}/dx"] = numpy(out), numpy(x.grad)
    return results


# -- the whole network


def build(case: recipe.Network) -> torch.nn.Module:
    norm_layer = partial(torch.nn.BatchNorm2d, eps=case.eps, momentum=case.momentum)
    return torchvision.models.MobileNetV2(case.num_classes, case.width, norm_layer=norm_layer, dropout=0.0).double()


def load(net: torch.nn.Module, name: str, ours: Any) -> dict[str, str]:
    """Give torchvision's network the state of `recipe.state`. Returns our name -> torchvision's."""
    names = recipe.torchvision_names(ours)
    values = recipe.state(name, ours)
    state = {names[key]: torch.from_numpy(recipe.torch_layout(key, value).copy()) for key, value in values.items()}
    counters = {key: value for key, value in net.state_dict().items() if key.endswith("num_batches_tracked")}
    net.load_state_dict(state | counters, strict=True)
    return names


def network(case: recipe.Network) -> Results:
    ours = recipe.build(case)  # for its names and shapes only
    net = build(case)
    names = load(net, case.name, ours)
    given, dlogits = recipe.network_inputs(case)
    results = {}
    for mode in ("train", "eval"):
        net.train(mode == "train").zero_grad()
        x = tensor(given)
        logits = net(nchw(x))
        logits.backward(torch.from_numpy(dlogits))
        results[f"{mode}/logits"], results[f"{mode}/dx"] = numpy(logits), numpy(x.grad)
        parameters = dict(net.named_parameters())
        for key in ours.named_parameters():
            results[f"{mode}/grad/{key}"] = recipe.our_layout(key, numpy(parameters[names[key]].grad)).copy()
    return results | {key: numpy(net.state_dict()[names[key]]) for key in names if key.endswith(("mean", "var"))}


# -- some steps of training


def build_small() -> torch.nn.Module:
    rows = [[1, 32, 1, 1], [2, 64, 2, 2]]  # t, c, n, s; at width 1/4: 8 channels in the stem and in row 0, 16 in row 1
    net = torchvision.models.MobileNetV2(4, 0.25, inverted_residual_setting=rows, dropout=0.0)
    relu6, norm_layer = torch.nn.ReLU6, torch.nn.BatchNorm2d
    net.features[-1] = Conv2dNormActivation(16, 24, kernel_size=1, norm_layer=norm_layer, activation_layer=relu6)
    net.classifier[1] = torch.nn.Linear(24, 4)
    return net.double()


def training(case: recipe.Training) -> Results:
    ours = recipe.build(case.network) if case.network else recipe.build_small()  # for its names and shapes only
    net = build(case.network) if case.network else build_small()
    names = load(net, case.name, ours)
    common = {"lr": case.lr, "momentum": recipe.MOMENTUM, "weight_decay": recipe.WEIGHT_DECAY}
    if case.optimizer == "SGD":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(net.parameters(), **common)
    else:
        optimizer = torch.optim.RMSprop(net.parameters(), alpha=recipe.DECAY, eps=case.eps, **common)
    x, labels = recipe.training_inputs(case)
    losses = []
    for _step in range(case.steps):
        optimizer.zero_grad()
        value = F.cross_entropy(net(nchw(tensor(x))), torch.from_numpy(labels), label_smoothing=recipe.LABEL_SMOOTHING)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    state = net.state_dict()
    after = {key: recipe.our_layout(key, numpy(state[name])).copy() for key, name in names.items()}
    return {"losses": np.array(losses)} | after


# -- the files


def main() -> None:
    torch.set_num_threads(1)  # the same sums in the same order on every run
    operations: Results = {}
    for make, cases in ((conv, recipe.CONVS), (norm, recipe.NORMS), (loss, recipe.LOSSES), (pool, recipe.POOLS)):
        for case in cases:
            operations |= {f"{case.name}/{key}": value for key, value in make(case).items()}
    operations |= {f"linear/{key}": value for key, value in linear().items()}
    operations |= {f"activations/{key}": value for key, value in activations().items()}
    # frozen batch norms: of the gradients in inference only those of the images are kept, the others double the file
    whole = {key: value for key, value in network(recipe.NETWORK).items() if not key.startswith("eval/grad/")}
    steps = {f"{case.name}/{key}": value for case in recipe.TRAININGS for key, value in training(case).items()}

    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}, numpy {np.__version__}"
    versions += f", Python {platform.python_version()}, {platform.machine()}"
    for name, arrays in (("operations", operations), ("network", whole), ("training", steps)):
        path = FOLDER / f"{name}.npz"
        np.savez_compressed(path, versions=np.array(versions), **arrays)
        print(f"{path.name}: {len(arrays)} arrays, {os.path.getsize(path):,} bytes")


if __name__ == "__main__":
    main()
