"""MobileNetV2 in one file: forward, backward and training, in NumPy alone. ``python -m npmnv2.mini`` reads digits.

From the same weights, a test holds outputs, gradients and steps equal to the package's. Three things to know:

- A batch of images is an array (N, H, W, C): image, row, column, channel. A channel is one number a pixel: red, say;
  later what a filter computed there. In the brackets of a formula x is a column, m an output channel.
- The gradient of an array `a` has its shape and is called `da`: a small change moves the loss by ``sum(da * change)``.
- An operation returns its output and a function, `backward`, which takes `dout`, the gradient of the output, and
  returns those of the inputs. It sees the variables of the forward, for it is defined inside it.
"""

from functools import partial
from pathlib import Path

import numpy as np

# The three convolutions. A 3x3 kernel slides over the image, `s` pixels a step (the stride); around the image lies a
# border of zeros, one pixel wide. The usual loop goes from window to window. Here it goes over the nine places in the
# kernel, the taps: while the kernel slides, tap (i, j) comes past every s-th pixel from row i and column j on. Together
# they are a view of the padded image, and it has the shape of the output.

BORDER = ((0, 0), (1, 1), (1, 1), (0, 0))


def taps(x, s):
    """Where each of the nine taps looks: i, j and a slice of the padded image."""
    OH, OW = (x.shape[1] - 1) // s + 1, (x.shape[2] - 1) // s + 1  # of the output: (H + 2 - 3) // s + 1
    return [(i, j, np.s_[:, i : i + s * OH : s, j : j + s * OW : s]) for i in range(3) for j in range(3)]


def standard(x, w, s=1):
    """Standard convolution, w (3, 3, C, M): out[n,y,x,m] = sum_ijc xp[n, s*y+i, s*x+j, c] * w[i,j,c,m]."""
    xp = np.pad(x, BORDER)
    out = sum(xp[seen] @ w[i, j] for i, j, seen in taps(x, s))  # (N, OH, OW, M)

    def backward(dout):
        dxp, dw = np.zeros_like(xp), np.zeros_like(w)
        for i, j, seen in taps(x, s):  # forward says: out += xp[seen] @ w[i, j]
            # Each factor's gradient is dout times the other factor, summed over all places where it was used: a channel
            # went into all M outputs, hence @ and .T; w[i, j] met all pixels; einsum sums over n, y, x.
            dxp[seen] += dout @ w[i, j].T
            dw[i, j] = np.einsum("nyxc,nyxm->cm", xp[seen], dout, optimize=True)
        return dxp[:, 1:-1, 1:-1], dw  # the border is no input

    return out, backward


def depthwise(x, w, s=1):
    """Depthwise convolution, w (3, 3, C): the same with * for @. A channel sees itself alone."""
    xp = np.pad(x, BORDER)
    out = sum(xp[seen] * w[i, j] for i, j, seen in taps(x, s))  # (N, OH, OW, C)

    def backward(dout):
        dxp, dw = np.zeros_like(xp), np.zeros_like(w)
        for i, j, seen in taps(x, s):  # forward says: out += xp[seen] * w[i, j]
            dxp[seen] += dout * w[i, j]
            dw[i, j] = np.einsum("nyxc,nyxc->c", xp[seen], dout)
        return dxp[:, 1:-1, 1:-1], dw

    return out, backward


def pointwise(x, w):
    """Pointwise (1x1) convolution, w (C, M): one tap, no neighbours. Every pixel's channels times a matrix."""
    C, M = w.shape
    out = x @ w  # (N, H, W, M)

    def backward(dout):
        return dout @ w.T, x.reshape(-1, C).T @ dout.reshape(-1, M)  # all pixels of all images below each other

    return out, backward


# Why three? For C = M = 192 channels the standard convolution does 9 * 192 * 192 multiplications a pixel, the other two
# together 9 * 192 + 192 * 192: 8.6 times fewer. That is the idea of MobileNet.


def batchnorm(x, gamma, beta, eps=1e-5):
    """Give every channel mean 0 and variance 1 over the batch, then scale and shift it: gamma * xhat + beta."""
    m = x.size // x.shape[-1]  # values a channel: N * H * W (no channel index here)
    mean = x.mean((0, 1, 2))  # (C,)
    centered = x - mean
    var = (centered * centered).mean((0, 1, 2))  # (C,)
    std = np.sqrt(var + eps)
    xhat = centered / std
    out = gamma * xhat + beta

    def backward(dout):
        dbeta = dout.sum((0, 1, 2))
        dgamma = (dout * xhat).sum((0, 1, 2))
        # A change of one x moves the xhat three ways: its own grows by change / std; all m fall by change / m / std as
        # the mean grows; and all fall by xhat / std times what std grows by, change * its xhat / m. In sum,
        #     dx = (dxhat - sum(dxhat) / m - xhat * sum(dxhat * xhat) / m) / std
        # with dxhat = gamma * dout. The two sums are gamma * dbeta and gamma * dgamma:
        dx = gamma / std * (dout - dbeta / m - xhat * dgamma / m)
        return dx, dgamma, dbeta

    return out, backward, mean, var


def relu6(x):
    """min(max(x, 0), 6): the gradient passes where x was strictly between."""
    return np.clip(x, 0, 6), lambda dout: dout * ((x > 0) & (x < 6))


def global_average(x):
    """The mean over all pixels, (N, H, W, C) to (N, C): each pixel gets an equal share of the gradient."""
    N, H, W, C = x.shape
    return x.mean((1, 2)), lambda dout: np.broadcast_to(dout[:, None, None] / (H * W), x.shape)


def linear(x, w, b):
    """x @ w + b, (N, C) to (N, M)."""
    return x @ w + b, lambda dout: (dout @ w.T, x.T @ dout, dout.sum(0))


def cross_entropy(logits, labels):
    """The mean of -log(probability of the right class); its gradient: the probabilities, less 1 at that class, / N."""
    z = logits - logits.max(1, keepdims=True)  # minus the largest: no overflow, the same probabilities exp(z) / total
    total = np.exp(z).sum(1, keepdims=True)
    rows = np.arange(len(labels))
    loss = np.log(total).mean() - z[rows, labels].mean()
    dlogits = np.exp(z) / total
    dlogits[rows, labels] -= 1
    return loss, dlogits / len(labels)


class Parameter:
    """An array that is learned, its gradient, and the velocity that SGD gives it."""

    def __init__(self, value):
        self.value, self.grad, self.velocity = value, None, np.zeros_like(value)


class ConvBN:
    """A convolution, batch norm, and ReLU6 unless it is linear. No bias: batch norm would subtract it again."""

    def __init__(self, convolve, w, linear=False):
        C = w.shape[-1]
        self.convolve, self.linear = convolve, linear
        self.w = Parameter(w)
        self.gamma, self.beta = Parameter(np.ones(C, w.dtype)), Parameter(np.zeros(C, w.dtype))
        self.mean, self.var = np.zeros(C, w.dtype), np.ones(C, w.dtype)  # running averages, for when it has learned

    def parameters(self):
        return [self.w, self.gamma, self.beta]

    def forward(self, x, training):
        x, self.through_conv = self.convolve(x, self.w.value)
        if training:
            x, self.through_norm, mean, var = batchnorm(x, self.gamma.value, self.beta.value)
            m = x.size // x.shape[-1]
            self.mean += 0.1 * (mean - self.mean)  # a tenth of the way at each step
            self.var += 0.1 * (var * m / max(m - 1, 1) - self.var)  # m - 1: an unbiased estimate for other images
        else:  # one image must not depend on the others of its batch; there is no way back from here
            self.through_norm = None
            x = self.gamma.value * (x - self.mean) / np.sqrt(self.var + 1e-5) + self.beta.value
        if not self.linear:
            x, self.through_relu = relu6(x)
        return x

    def backward(self, dout):
        if not self.linear:
            dout = self.through_relu(dout)
        dout, self.gamma.grad, self.beta.grad = self.through_norm(dout)
        dx, self.w.grad = self.through_conv(dout)
        return dx


class InvertedResidual:
    """Widen C channels t times, filter in space, project to M channels; add x where the shapes allow it."""

    def __init__(self, random, C, M, s, t):
        self.steps = [ConvBN(pointwise, random(C, t * C))] if t > 1 else []
        self.steps += [ConvBN(partial(depthwise, s=s), random(3, 3, t * C))]
        self.steps += [ConvBN(pointwise, random(t * C, M), linear=True)]  # ReLU6 would destroy what few channels carry
        self.shortcut = s == 1 and C == M
        if self.shortcut:  # begins as the identity, which helps at the start (arXiv:1706.02677, 5.1; the package has 1)
            self.steps[-1].gamma.value[:] = 0

    def parameters(self):
        return [p for step in self.steps for p in step.parameters()]

    def forward(self, x, training):
        out = x
        for step in self.steps:
            out = step.forward(out, training)
        return x + out if self.shortcut else out

    def backward(self, dout):
        dx = dout
        for step in reversed(self.steps):
            dx = step.backward(dx)
        return dout + dx if self.shortcut else dx  # x was used twice, so its gradient has two parts


# t: expansion, c: channels, n: blocks, s: stride of the first of them. Table 2 of arXiv:1801.04381.
ROWS = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


def divisible(c):
    """The nearest multiple of 8, at least 8, and not more than 10 % below c: how V2's authors round channels."""
    rounded = max(8, int(c + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * c else rounded


class MobileNetV2:
    """First convolution, 17 blocks, last convolution, mean over all pixels, classifier. `width` multiplies channels."""

    def __init__(self, classes, width=1.0, strides=None, channels=3, dtype=np.float32, seed=0):
        rng = np.random.default_rng(seed)

        def random(*shape):  # scaled by how many values an output adds up, which keeps numbers of one size
            return (rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1]))).astype(dtype)

        strides = strides or [2] + [row[3] for row in ROWS]  # the first convolution's, then the rows'
        C = divisible(32 * width)
        self.layers = [ConvBN(partial(standard, s=strides[0]), random(3, 3, channels, C))]
        for (t, c, n, _), s in zip(ROWS, strides[1:], strict=True):
            for k in range(n):
                M = divisible(c * width)
                self.layers.append(InvertedResidual(random, C, M, s if k == 0 else 1, t))
                C = M
        head = divisible(1280 * max(width, 1))  # the paper leaves the last one wide
        self.layers.append(ConvBN(pointwise, random(C, head)))
        self.w, self.b = Parameter(random(head, classes)), Parameter(np.zeros(classes, dtype))

    def parameters(self):
        return [p for layer in self.layers for p in layer.parameters()] + [self.w, self.b]

    def forward(self, x, training=False):
        for layer in self.layers:
            x = layer.forward(x, training)
        x, self.through_pool = global_average(x)
        logits, self.through_linear = linear(x, self.w.value, self.b.value)
        return logits

    def backward(self, dlogits):
        dx, self.w.grad, self.b.grad = self.through_linear(dlogits)
        dx = self.through_pool(dx)
        for layer in reversed(self.layers):
            dx = layer.backward(dx)
        return dx


def sgd(parameters, lr, momentum=0.9):
    """Step against the gradient. The velocity adds up past gradients, older ones less; noise in them evens out."""
    for p in parameters:
        p.velocity = momentum * p.velocity + p.grad
        p.value -= lr * p.velocity


def check_gradient(h=1e-7):  # so small a step that no ReLU6 crosses 0 or 6 on the way: with 1e-5 some do, 1 % off
    """The derivative of the loss along a random direction in float64, by differences and by `backward`."""
    rng = np.random.default_rng(0)
    model = MobileNetV2(10, 0.1, channels=1, dtype=np.float64)
    x, labels = rng.normal(size=(4, 40, 56, 1)), rng.integers(10, size=4)
    for p in model.parameters():  # inside a block with gamma 0 all gradients are 0, and a wrong one would not show
        p.value += 0.1 * rng.normal(size=p.value.shape)
    direction = [(p, rng.normal(size=p.value.shape)) for p in model.parameters()]

    def loss(step):
        for p, v in direction:
            p.value += step * v
        return cross_entropy(model.forward(x, training=True), labels)

    model.backward(loss(0)[1])
    by_backward = sum((p.grad * v).sum() for p, v in direction)
    return (loss(h)[0] - loss(-2 * h)[0]) / (2 * h), by_backward  # to +h, and from there to -h


def main(epochs=10, batch=32, lr=0.05):
    """Check the gradient, then learn 1,437 handwritten digits of 8x8 pixels and read 360 others."""
    by_differences, by_backward = check_gradient()
    print(f"Slope along a random direction: {by_differences:.6f} by differences, {by_backward:.6f} by backward.")
    assert abs(by_differences - by_backward) < 1e-5 * abs(by_backward), "a backward is wrong"
    rng = np.random.default_rng(0)
    digits = np.load(Path(__file__).with_name("data") / "digits.npz")
    images, labels = digits["images"][..., None].astype(np.float32) / 8 - 1, digits["labels"]  # 0..16 to -1..1
    unseen, known = np.split(rng.permutation(1797), [360])
    model = MobileNetV2(10, 0.25, strides=(1, 1, 1, 2, 1, 1, 2, 1), channels=1)  # 8x8 pixels bear two halvings
    n = len(known) // batch  # steps an epoch
    for epoch in range(epochs):
        losses = []
        for k, some in enumerate(rng.permutation(known)[: n * batch].reshape(n, batch)):
            # Every second image may move by a pixel, lest it be learned by heart; the edge fills what it leaves.
            moves = 1 + rng.integers(-1, 2, (batch, 2)) * rng.integers(2, size=(batch, 1))
            padded = np.pad(images[some], BORDER, mode="edge")
            moved = np.stack([image[i : i + 8, j : j + 8] for image, (i, j) in zip(padded, moves, strict=True)])
            loss, dlogits = cross_entropy(model.forward(moved, training=True), labels[some])
            model.backward(dlogits)
            sgd(model.parameters(), lr * (1 + np.cos(np.pi * (epoch + k / n) / epochs)) / 2)  # from lr to 0
            losses.append(loss)
        right = (model.forward(images[unseen]).argmax(1) == labels[unseen]).mean()
        print(f"epoch {epoch + 1:2} of {epochs}: loss {np.mean(losses):.3f}, unseen digits {right:.1%}", flush=True)
    return right


if __name__ == "__main__":
    assert main() >= 0.97
