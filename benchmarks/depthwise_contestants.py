"""The contestants of `depthwise.py`: the 3x3 depthwise convolution and its gradients, by everyone who has one."""

import os
import statistics

import numpy as np
from common.measure import aligned, copier, measure


def problem(case):
    """The arrays of a case, the same in every process."""
    H, C, stride, N = case
    OH = (H - 1) // stride + 1
    rng = np.random.default_rng(H * C + N)
    x, w, dout = (rng.standard_normal(s, np.float32) for s in ((N, H, H, C), (3, 3, C), (N, OH, OH, C)))
    return aligned(x), aligned(w), aligned(dout), stride


# The contestants: a function from the problem to (forward, backward), each called without arguments and giving NHWC.


def run_loops(x, w, dout, stride):
    import numba

    @numba.njit
    def loops_forward(x, w, stride):
        N, H, W, C = x.shape
        out = np.empty((N, (H - 1) // stride + 1, (W - 1) // stride + 1, C), x.dtype)
        for n in range(N):
            for oy in range(out.shape[1]):
                for ox in range(out.shape[2]):
                    for c in range(C):
                        total = x.dtype.type(0)
                        for i in range(3):
                            for j in range(3):
                                y, xx = stride * oy + i - 1, stride * ox + j - 1
                                if 0 <= y < H and 0 <= xx < W:
                                    total += x[n, y, xx, c] * w[i, j, c]
                        out[n, oy, ox, c] = total
        return out

    @numba.njit
    def loops_backward(dout, x, w, stride):
        N, H, W, C = x.shape
        dx, dw = np.zeros_like(x), np.zeros_like(w)
        for n in range(N):
            for oy in range(dout.shape[1]):
                for ox in range(dout.shape[2]):
                    for c in range(C):
                        for i in range(3):
                            for j in range(3):
                                y, xx = stride * oy + i - 1, stride * ox + j - 1
                                if 0 <= y < H and 0 <= xx < W:
                                    dx[n, y, xx, c] += dout[n, oy, ox, c] * w[i, j, c]
                                    dw[i, j, c] += dout[n, oy, ox, c] * x[n, y, xx, c]
        return dx, dw

    return lambda: loops_forward(x, w, stride), lambda: loops_backward(dout, x, w, stride)


def run_numpy(x, w, dout, stride):
    from npmnv2 import ops

    _, cache = ops.depthwise_conv2d_forward(x, w, stride, 1)
    return lambda: ops.depthwise_conv2d_forward(x, w, stride, 1)[0], lambda: ops.depthwise_conv2d_backward(dout, cache)


def run_kernels(x, w, dout, stride):
    from npmnv2 import kernels

    _, cache = kernels.depthwise_conv2d_forward(x, w, stride, 1)
    return (
        lambda: kernels.depthwise_conv2d_forward(x, w, stride, 1)[0],
        lambda: kernels.depthwise_conv2d_backward(dout, cache),
    )


def run_onnxruntime(x, w, dout, stride):
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    x, w = aligned(x.transpose(0, 3, 1, 2)), aligned(w.transpose(2, 0, 1)[:, None])
    shape = (dout.shape[0], dout.shape[3], *dout.shape[1:3])
    conv = helper.make_node("Conv", ["x", "w"], ["y"], group=x.shape[1], pads=[1] * 4, strides=[stride] * 2)
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", x.shape), ("y", shape))]
    graph = helper.make_graph([conv], "g", ends[:1], ends[1:], [numpy_helper.from_array(w, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    ways = []
    for level in (ort.GraphOptimizationLevel.ORT_ENABLE_BASIC, ort.GraphOptimizationLevel.ORT_ENABLE_ALL):
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.graph_optimization_level = int(os.environ["OMP_NUM_THREADS"]), level
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        binding, y = session.io_binding(), aligned(np.zeros(shape))
        binding.bind_cpu_input("x", x)
        binding.bind_output("y", "cpu", 0, np.float32, shape, y.ctypes.data)
        ways.append(lambda session=session: session.run(None, {"x": x})[0])
        ways.append(lambda session=session, binding=binding, y=y: session.run_with_iobinding(binding) or y)
    best = min(ways, key=lambda way: statistics.median(measure(way, 0.05)))
    best.result = lambda: best().transpose(0, 2, 3, 1)
    return best, None


def run_torch(x, w, dout, stride, layout):
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    layout = torch.channels_last if layout == "nhwc" else torch.contiguous_format
    x, dout = (torch.from_numpy(a).permute(0, 3, 1, 2).contiguous(memory_format=layout) for a in (x, dout))
    w = torch.from_numpy(w).permute(2, 0, 1)[:, None].contiguous()
    C = x.shape[1]
    gradients = torch.ops.aten.convolution_backward

    def forward():
        with torch.no_grad():
            return torch.nn.functional.conv2d(x, w, stride=stride, padding=1, groups=C)

    def backward():
        s, one = [stride] * 2, [1, 1]
        return gradients(dout, x, w, None, s, one, one, False, [0, 0], C, [True, True, False])

    forward.result = lambda: forward().permute(0, 2, 3, 1).numpy()

    def result():
        dx, dw, _ = backward()
        return dx.permute(0, 2, 3, 1).numpy(), dw[:, 0].permute(1, 2, 0).numpy()

    backward.result = result
    return forward, backward


def prepare(name, case):
    """The calls of one contestant, for `measure.serve`, by what they do."""
    x, w, dout, stride = arrays = problem(case)
    if name.startswith("torch"):
        made = run_torch(*arrays, name.split()[1])
    else:
        made = {"loops": run_loops, "numpy": run_numpy, "kernels": run_kernels, "onnxruntime": run_onnxruntime}[name](
            *arrays
        )
    calls = {way: call for way, call in zip(("forward", "backward"), made, strict=True) if call}
    if name == "kernels":
        calls |= {"copy forward": copier((x.size + dout.size) // 2), "copy backward": copier(x.size + dout.size // 2)}
    return calls
