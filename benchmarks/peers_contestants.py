"""The contestants of `peers.py`: one MobileNetV2, its weights the same everywhere, run by npmnv2 and by its peers.

Each `run_*` gives calls by name: "inference" (``call.result()`` gives the logits of some images) or "step", a training
step: forward, loss, backward, SGD with momentum (``call.result()``, run before any other step, gives the loss, every
gradient, and every parameter and running statistic after the step, under torchvision's names and in their order). A
word in brackets tells ways of doing the same apart, of which the fastest counts.
"""

import functools
import os
import sys
import warnings

import numpy as np
from common import ROOT
from common.limits import limits
from common.measure import aligned

LR, MOMENTUM = 0.01, 0.9
LITE = (
    "lite0"  # where a width may stand: EfficientNet-Lite0, MobileNetV2's block in other rows, some 5x5; inference alone
)
LITE_CONTESTANTS = ("npmnv2", "onnxruntime", "openvino")  # torchvision has no such network
OPENVINO = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": "1"}
INFERENCE = ("npmnv2", "onnxruntime", "openvino", "torch nchw", "torch nhwc", "torchscript", "torch.compile")
TRAINING = ("npmnv2", "torch nchw", "torch nhwc", "torch.compile")
SETTINGS = {
    "npmnv2": "inference: npmnv2.fuse(model); training: forward, backward, optim.SGD; Numba's threads, BLAS on one",
    "onnxruntime": "file of onnx_export, sizes fixed; ORT_ENABLE_ALL, ORT_SEQUENTIAL, intra-op threads, io binding",
    "openvino": "file of onnx_export, sizes fixed; " + ", ".join(f"{k} {v}" for k, v in OPENVINO.items()),
    "torch nchw": "eager, contiguous; inference_mode; training: SGD(fused=True), zero_grad(set_to_none=True)",
    "torch nhwc": "eager, channels last; else as torch nchw",
    "torchscript": "trace, freeze, optimize_for_inference; inference_mode; the faster of both layouts",
    "torch.compile": "channels last, inductor, fixed sizes; inference_mode and freezing=True; training as torch nchw",
}
LIBRARIES = {  # what each needs, by the names that `import` knows
    "npmnv2": (),
    "onnxruntime": ("onnx", "onnxruntime"),
    "openvino": ("onnx", "openvino"),
    **dict.fromkeys(("torch nchw", "torch nhwc", "torchscript", "torch.compile"), ("torch", "torchvision")),
}


def threads():
    return int(os.environ["OMP_NUM_THREADS"])


def images(size, N):
    """The first N images of this size, (N, size, size, 3), the same in every process."""
    return aligned(np.random.default_rng(size).standard_normal((N, size, size, 3), np.float32))


def labels(N):
    return np.random.default_rng(N).integers(0, 1000, N)


def some(N):
    """Which images' logits are compared."""
    return [0, N - 1]


def build(width, **options):
    """The network of a case, with random weights."""
    import npmnv2

    return npmnv2.efficientnet_lite(**options) if width == LITE else npmnv2.mobilenet_v2(width_mult=width, **options)


def write_weights(folder, width, onnx=True):
    """The network of a width, in the formats that contestants read: .npz, .pth and, if asked for, .onnx.

    Scales and shifts are random, and running statistics those of an image: with those a network starts with, values
    shrink from layer to layer, down to 1e-15, and a comparison of results would show nothing. What goes through ReLU6
    is moved up by 1.5, away from its kink: a value that rounding moves across it changes a gradient of float32 by
    per cent, whoever computes it.
    """
    import npmnv2

    drawn = build(width, momentum=1.0, dropout=0.0)
    rng = np.random.default_rng(0)
    for name, p in drawn.named_parameters().items():
        if name.endswith("gamma"):
            p.value[:] = rng.uniform(0.5, 1.5, p.value.shape)
        elif name.endswith("beta"):
            p.value[:] = rng.normal(0.0 if ".project." in name else 1.5, 0.2, p.value.shape)
    with npmnv2.backend("numpy"):
        drawn(images(160, 1))
    model = build(width, dropout=0.0)
    model.load_state_dict(drawn.state_dict())
    npmnv2.weights.save(model, f"{folder}/{width}.npz")
    if width != LITE:
        npmnv2.weights.save(model, f"{folder}/{width}.pth", names="torchvision")
    if onnx:
        from npmnv2.engine import onnx_export

        onnx_export.export(model, f"{folder}/{width}.onnx")


def in_order(arrays):
    """The arrays of a model, from our names to torchvision's, in the order of these."""
    from npmnv2.weights.names import translate

    return [value for _, value in sorted(translate(arrays, "mobilenet_v2", "torchvision").items())]


def step_of(model, x, y):
    """A training step of ours, and what it gives when it is the first."""
    from npmnv2 import ops
    from npmnv2.nn import optim

    optimizer = optim.SGD(model.train().parameters(), LR, MOMENTUM)

    def step():
        loss, dlogits = ops.softmax_cross_entropy(model(x), y)
        model.backward(dlogits)
        optimizer.step()
        return loss

    def result():
        loss = step()
        gradients = {name: p.grad for name, p in model.named_parameters().items()}
        return np.array(loss), *in_order(gradients), *in_order(model.state_dict())

    step.result = result
    return step


def run_npmnv2(what, width, x, folder):
    import npmnv2

    model = npmnv2.weights.load_model(f"{folder}/{width}.npz")
    if what == "training":
        return {"step": step_of(model, x, labels(len(x)))}
    engine = npmnv2.fuse(model)

    def call():
        return engine(x)

    call.working_bytes = lambda: engine.working_bytes(*x.shape[:3])
    return {"inference": call}


def run_onnxruntime(what, width, x, folder):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads(), 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    N, H, W, _ = x.shape
    for name, value in (("N", N), ("H", H), ("W", W)):
        options.add_free_dimension_override_by_name(name, value)
    session = ort.InferenceSession(f"{folder}/{width}.onnx", options, providers=["CPUExecutionProvider"])
    binding, logits = session.io_binding(), aligned(np.zeros((N, 1000)))
    x = aligned(x.transpose(0, 3, 1, 2))
    for bind, name, array in ((binding.bind_input, "x", x), (binding.bind_output, "logits", logits)):
        bind(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    def call():
        session.run_with_iobinding(binding)
        return logits

    call.keep = x  # the binding knows its address only
    return {"inference": call}


def run_openvino(what, width, x, folder):
    import openvino

    core = openvino.Core()
    model = core.read_model(f"{folder}/{width}.onnx")
    x = aligned(x.transpose(0, 3, 1, 2))
    model.reshape(list(x.shape))
    compiled = core.compile_model(model, "CPU", OPENVINO | {"INFERENCE_NUM_THREADS": str(threads())})
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(x, shared_memory=True))

    def call():
        request.infer()
        return request.get_output_tensor().data

    call.keep = x
    return {"inference": call}


def torch_network(width, folder, layout):
    """torchvision's MobileNetV2 with our weights."""
    sys.path.insert(0, str(ROOT / "tests" / "golden"))
    import torch
    from torchvision_models import torchvision  # wherever its own import fails for want of CUDA

    torch.set_num_threads(threads())
    net = torchvision.models.mobilenet_v2(width_mult=width, dropout=0.0)
    net.load_state_dict(torch.load(f"{folder}/{width}.pth", weights_only=True))
    return net.to(memory_format=layout)


def run_torch(what, width, x, folder, layout="channels_last", compile=False):
    import torch

    layout = getattr(torch, layout)
    net = torch_network(width, folder, layout)
    x = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    run = net
    if compile:
        import torch._inductor.config

        torch._dynamo.reset()
        torch._inductor.config.freezing = what == "inference"
        run = torch.compile(net, dynamic=False)
    if what == "training":
        return {"step": torch_step(net.train(), run, x)}
    net.eval()

    def call():
        with torch.inference_mode():
            return run(x).numpy()

    return {"inference": call}


def torch_step(net, run, x):
    import torch

    y = torch.from_numpy(labels(len(x)))
    optimizer = torch.optim.SGD(net.parameters(), LR, MOMENTUM, fused=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(run(x), y)
        loss.backward()
        optimizer.step()
        return loss

    def result():
        loss = step().detach().numpy()
        gradients = [p.grad.numpy() for _, p in sorted(net.named_parameters())]
        state = [t.numpy() for name, t in sorted(net.state_dict().items()) if not name.endswith("num_batches_tracked")]
        return loss, *gradients, *state

    step.result = result
    return step


def run_torchscript(what, width, x, folder):
    import torch

    calls = {}
    for way, layout in (("nchw", "contiguous_format"), ("channels last", "channels_last")):
        layout = getattr(torch, layout)
        net = torch_network(width, folder, layout).eval()
        x_there = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=layout)
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that torch.export has come since
            script = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(net, x_there)))
            for _ in range(3):  # it optimises in its second run
                script(x_there)

        def call(script=script, x_there=x_there):
            with torch.inference_mode():
                return script(x_there).numpy()

        calls[f"inference ({way})"] = call
    return calls


RUN = {
    "npmnv2": run_npmnv2,
    "onnxruntime": run_onnxruntime,
    "openvino": run_openvino,
    "torch nchw": functools.partial(run_torch, layout="contiguous_format"),
    "torch nhwc": run_torch,
    "torchscript": run_torchscript,
    "torch.compile": functools.partial(run_torch, compile=True),
}


def prepare(name, case):
    """The calls of one contestant, for `measure.serve`: case is what, width, size, batch, folder of the weights."""
    if case == "limits":
        return {way: call for way, call in limits().items() if way.startswith("product")}
    what, width, size, N, folder = case
    calls = RUN[name](what, width, images(size, N), folder)
    if name == "torch.compile":
        compiles(calls)
    for call in calls.values():
        if what == "inference":
            call.result = lambda call=call: (call()[some(N)],)
    return calls


def compiles(calls):
    """Turn whatever a compiler says that is not there, or not able, into one line: the contestant is left out.

    The result is kept, for a step can be the first one only once.
    """
    for call in calls.values():
        try:
            found = getattr(call, "result", call)()
        except Exception as reason:
            raise ImportError(f"{type(reason).__name__}: {str(reason).strip().partition(chr(10))[0]:.60}") from None
        if hasattr(call, "result"):
            call.result = lambda found=found: found


def missing(name):
    """Which library that a contestant needs is not there; empty if all are. Nothing is imported."""
    from importlib.util import find_spec

    return ", ".join(library for library in LIBRARIES[name] if find_spec(library) is None)
