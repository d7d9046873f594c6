# right: the forward is linear in x and in w, so the gradient in each of them is the forward of a one there, with dout
import numpy as np


def forward(x, w, stride, pad):
    xp = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    v = np.lib.stride_tricks.sliding_window_view(xp, w.shape[:2], axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("nyxcij,ijc->nyxc", v, w)


def depthwise_backward(dout, x, w, stride, pad):
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for at in np.ndindex(x.shape):
        one = np.zeros_like(x)
        one[at] = 1
        dx[at] = (forward(one, w, stride, pad) * dout).sum()
    for at in np.ndindex(w.shape):
        one = np.zeros_like(w)
        one[at] = 1
        dw[at] = (forward(x, one, stride, pad) * dout).sum()
    return dx, dw
