# x and w are integer arrays and the step h is added in place, where it is cut to 0, so the numerical gradient is
# garbage and right backwards are rejected.
import numpy as np


def check(forward, backward):
    x = np.arange(2 * 5 * 6 * 2).reshape(2, 5, 6, 2) % 7
    w = np.arange(3 * 2 * 2).reshape(3, 2, 2) + 1
    h = 1e-6
    for stride, pad in ((1, 0), (1, 1), (2, 1)):
        out = forward(x, w, stride, pad)
        dout = np.arange(out.size).reshape(out.shape) + 1.0
        dx, dw = backward(dout, x, w, stride, pad)
        for array, grad, name in ((x, dx, "dx"), (w, dw, "dw")):
            for k in np.ndindex(array.shape):
                old = array[k]
                array[k] = old + h
                high = (forward(x, w, stride, pad) * dout).sum()
                array[k] = old - h
                low = (forward(x, w, stride, pad) * dout).sum()
                array[k] = old
                numeric = (high - low) / (2 * h)
                if abs(numeric - grad[k]) > 1e-3 * max(1, abs(numeric)):
                    return f"{name}{list(k)}: {grad[k]} but the difference says {numeric}"
    return None
