"""The contestants of `separable.py`: a standard 3x3 convolution, and a depthwise and a pointwise one in its place.

Each `run_*` turns the arrays into calls by name. "standard" and "separable" are forwards and give ``(out,)``; with
"step" behind it, forward and backward: ``(out, dx, the gradients of the weights)``; all NHWC. A word in brackets tells
ways of doing the same apart, of which the fastest counts.
"""

import os

import numpy as np
from common.limits import limits
from common.measure import aligned, copier, silent

NAIVE_UP_TO = 64  # channels; it would take minutes


def problem(case):
    """The arrays of a case, the same in every process: x, w (standard), wd and wp (separable), dout."""
    H, C, M, stride, N = case
    OH = (H - 1) // stride + 1
    rng = np.random.default_rng(H * C + M)
    shapes = ((N, H, H, C), (3, 3, C, M), (3, 3, C), (C, M), (N, OH, OH, M))
    return [aligned(rng.random(s, np.float32) - np.float32(0.5)) for s in shapes]


def run_npmnv2(x, w, wd, wp, dout, stride):
    from one_pass import separable_conv2d

    from npmnv2 import kernels, ops
    from npmnv2.kernels.conv import operations as conv

    depthwise, depthwise_backward = kernels.depthwise_conv2d_forward, kernels.depthwise_conv2d_backward
    pointwises = {
        "blas": (ops.pointwise_conv2d_forward, ops.pointwise_conv2d_backward),
        "tiles": (conv.pointwise_conv2d_forward, conv.pointwise_conv2d_backward),
    }
    standards = {
        "im2col": (ops.conv2d_im2col_forward, ops.conv2d_im2col_backward),
        "tiles": (conv.conv2d_forward, conv.conv2d_backward),
    }
    calls = {}
    for name, (standard, backward) in standards.items():

        def forward(standard=standard):
            return (standard(x, w, stride, 1)[0],)

        def step(standard=standard, backward=backward):
            out, cache = standard(x, w, stride, 1)
            return out, *backward(dout, cache)

        calls |= {f"standard ({name})": forward, f"standard step ({name})": step}
    for name, (pointwise, backward) in pointwises.items():

        def forward(pointwise=pointwise):
            return (pointwise(depthwise(x, wd, stride, 1)[0], wp)[0],)

        def step(pointwise=pointwise, backward=backward):
            hidden, depthwise_cache = depthwise(x, wd, stride, 1)
            out, pointwise_cache = pointwise(hidden, wp)
            dhidden, dwp = backward(dout, pointwise_cache)
            dx, dwd = depthwise_backward(dhidden, depthwise_cache)
            return out, dx, dwd, dwp

        calls |= {f"separable ({name})": forward, f"separable step ({name})": step}
    calls["separable (one pass)"] = lambda: (separable_conv2d(x, wd, wp, stride, 1),)
    hidden = depthwise(x, wd, stride, 1)[0]
    calls["depthwise"] = silent(lambda: depthwise(x, wd, stride, 1))
    for name, (pointwise, _) in pointwises.items():
        calls[f"pointwise ({name})"] = silent(lambda pointwise=pointwise: pointwise(hidden, wp))
    calls["product"] = silent(products(hidden.size // hidden.shape[3], *wp.shape))
    calls["copy depthwise"] = copier((x.size + hidden.size) // 2)
    calls["copy pointwise"] = copier((hidden.size + dout.size + wp.size) // 2)
    return calls


def products(rows, C, M):
    """The arithmetic of the pointwise half at its best: as many multiply-adds, in products of the same width M whose
    operands stay in cache, on one thread.
    """
    import numba

    from npmnv2.kernels.products import product

    tile = min(rows, 84)
    depth = max(1, min(C, (1 << 16) // M))
    a, b, out = aligned(np.ones((tile, depth))), aligned(np.ones((depth, M))), aligned(np.ones((tile, M)))
    times = round(rows * C / (tile * depth))

    @numba.njit
    def repeat(a, b, out, times):
        for _ in range(times):
            product(a, b, True, out)

    return lambda: repeat(a, b, out, times)


def run_onnxruntime(x, w, wd, wp, dout, stride):
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    images = aligned(x.transpose(0, 3, 1, 2))
    C, M = wp.shape
    shape = (dout.shape[0], M, *dout.shape[1:3])
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", images.shape), ("y", shape))]
    around = {"pads": [1] * 4, "strides": [stride] * 2}
    graphs = {
        "standard": (
            [helper.make_node("Conv", ["x", "w"], ["y"], **around)],
            {"w": w.transpose(3, 2, 0, 1)},
        ),
        "separable": (
            [
                helper.make_node("Conv", ["x", "wd"], ["h"], group=C, **around),
                helper.make_node("Conv", ["h", "wp"], ["y"]),
            ],
            {"wd": wd.transpose(2, 0, 1)[:, None], "wp": wp.T[:, :, None, None]},
        ),
    }
    calls = {}
    for name, (nodes, weights) in graphs.items():
        constants = [numpy_helper.from_array(np.ascontiguousarray(value), key) for key, value in weights.items()]
        graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
        for level in ("BASIC", "ALL"):
            options = ort.SessionOptions()
            options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
            options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
            session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

            def call(session=session):
                return session.run(None, {"x": images})[0]

            call.result = lambda call=call: (call().transpose(0, 2, 3, 1),)
            calls[f"{name} ({level.lower()})"] = call
    return calls


def run_torch(x, w, wd, wp, dout, stride, layout):
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    layout = torch.channels_last if layout == "nhwc" else torch.contiguous_format
    C = x.shape[3]
    x, dout = (torch.from_numpy(a).permute(0, 3, 1, 2).contiguous(memory_format=layout) for a in (x, dout))
    w = torch.from_numpy(w).permute(3, 2, 0, 1).contiguous(memory_format=layout)
    wd = torch.from_numpy(wd).permute(2, 0, 1)[:, None].contiguous()
    wp = torch.from_numpy(wp).T[:, :, None, None].contiguous(memory_format=layout)

    def conv(x, w, stride=1, padding=0, groups=1):
        with torch.no_grad():
            return torch.nn.functional.conv2d(x, w, stride=stride, padding=padding, groups=groups)

    def gradients(dout, x, w, stride=1, padding=0, groups=1):
        s, p, one, wanted = [stride] * 2, [padding] * 2, [1, 1], [True, True, False]
        return torch.ops.aten.convolution_backward(dout, x, w, None, s, p, one, False, [0, 0], groups, wanted)[:2]

    def standard():
        return (conv(x, w, stride, 1),)

    def standard_step():
        return conv(x, w, stride, 1), *gradients(dout, x, w, stride, 1)

    def separable():
        return (conv(conv(x, wd, stride, 1, C), wp),)

    def separable_step():
        hidden = conv(x, wd, stride, 1, C)
        out = conv(hidden, wp)
        dhidden, dwp = gradients(dout, hidden, wp)
        return out, *gradients(dhidden, x, wd, stride, 1, C), dwp

    def images(t):
        return t.permute(0, 2, 3, 1).numpy()

    def as_npmnv2(call):
        out, *rest = call()
        if not rest:
            return (images(out),)
        dx, *weights = rest
        if len(weights) == 1:
            return images(out), images(dx), weights[0].permute(2, 3, 1, 0).numpy()
        return images(out), images(dx), weights[0][:, 0].permute(1, 2, 0).numpy(), weights[1][:, :, 0, 0].T.numpy()

    calls = {
        "standard": standard,
        "separable": separable,
        "standard step": standard_step,
        "separable step": separable_step,
    }
    for call in calls.values():
        call.result = lambda call=call: as_npmnv2(call)
    return calls


def run_naive(x, w, wd, wp, dout, stride):
    import numba

    @numba.njit
    def standard(x, w, out, stride, same):
        N, H, W, C = x.shape
        for n in range(N):
            for oy in range(out.shape[1]):
                for ox in range(out.shape[2]):
                    for m in range(out.shape[3]):
                        total = x.dtype.type(0)
                        for i in range(w.shape[0]):
                            for j in range(w.shape[1]):
                                y, xx = stride * oy + i - w.shape[0] // 2, stride * ox + j - w.shape[1] // 2
                                if 0 <= y < H and 0 <= xx < W:
                                    if same:  # depthwise: channel m alone
                                        total += x[n, y, xx, m] * w[i, j, 0, m]
                                    else:
                                        for c in range(C):
                                            total += x[n, y, xx, c] * w[i, j, c, m]
                        out[n, oy, ox, m] = total
        return out

    hidden, out = np.empty((*dout.shape[:3], x.shape[3]), x.dtype), np.empty_like(dout)
    wd, wp = wd[:, :, None], wp[None, None]

    def separable():
        return (standard(standard(x, wd, hidden, stride, True), wp, out, 1, False),)

    return {"standard": lambda: (standard(x, w, out, stride, False),), "separable": separable}


def run_layer(kind, H, C, M, stride, N):
    """One layer of a network alone, on npmnv2: for the sum over a whole network."""
    from npmnv2 import kernels, ops
    from npmnv2.kernels.conv import operations as conv

    rng = np.random.default_rng(0)
    x = aligned(rng.standard_normal((N, H, H, C), np.float32))
    shape = {"standard": (3, 3, C, M), "depthwise": (3, 3, C)}.get(kind, (C, M))
    w = aligned(rng.standard_normal(shape, np.float32))
    b = aligned(np.zeros(M))
    calls = {
        "standard": {
            "layer (im2col)": lambda: ops.conv2d_im2col_forward(x, w, stride, 1),
            "layer (tiles)": lambda: conv.conv2d_forward(x, w, stride, 1),
        },
        "depthwise": {"layer": lambda: kernels.depthwise_conv2d_forward(x, w, stride, 1)},
        "pointwise": {
            "layer (blas)": lambda: ops.pointwise_conv2d_forward(x, w),
            "layer (tiles)": lambda: conv.pointwise_conv2d_forward(x, w),
        },
        "linear": {"layer": lambda: ops.linear_forward(x.reshape(N, C), w, b)},
    }[kind]
    return {name: silent(call) for name, call in calls.items()}


def prepare(name, case):
    """The calls of one contestant, for `measure.serve`; what they give is cut down to what is compared."""
    if case == "limits":
        return limits()
    if case[0] == "layer":
        return run_layer(*case[1:])
    *_, C, M, stride, N = case
    if name == "naive" and (C != M or C > NAIVE_UP_TO or stride != 1 or N > 1):
        return {}
    arrays = problem(case)
    if name.startswith("torch"):
        calls = run_torch(*arrays, stride, name.split()[1])
    else:
        run = {"npmnv2": run_npmnv2, "onnxruntime": run_onnxruntime, "naive": run_naive}[name]
        calls = run(*arrays, stride)
    for call in calls.values():
        full = getattr(call, "result", call)
        call.result = lambda full=full: compared(full())
    return calls


def compared(result):
    """What is saved to be compared: the first and the last image, and gradients of weights if there are no others."""
    if result is None or not isinstance(result, tuple):
        return None
    N = len(result[0])
    return *(a[:: max(1, N - 1)] for a in result[:2]), *(result[2:] if N <= 2 else ())
