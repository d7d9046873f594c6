# dw: set to zeros inside the loop over the images, so that only the last image counts
import numpy as np


def depthwise_backward(dout, x, w, stride, pad):
    KH, KW, C = w.shape
    dx = np.zeros_like(x)
    for n in range(len(x)):
        image = np.pad(x[n], ((pad, pad), (pad, pad), (0, 0)))
        dimage = np.zeros_like(image)
        dw = np.zeros_like(w)
        for y in range(dout.shape[1]):
            for z in range(dout.shape[2]):
                r, q = y * stride, z * stride
                dimage[r : r + KH, q : q + KW] += dout[n, y, z] * w
                dw += dout[n, y, z] * image[r : r + KH, q : q + KW]
        dx[n] = dimage[pad : pad + x.shape[1], pad : pad + x.shape[2]]
    return dx, dw
