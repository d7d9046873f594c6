# %% [markdown]
# # Lab 5: the inverted residual
#
# 50 minutes. Widen, filter, project linearly, add if it fits.
#
# Arrays are NHWC: image, row, column, channel. The handout docs/labs/5.md has the specification and an example to do
# by hand. Ask the grader as often as you like: `python -m npmnv2 lab 5`.

# %%
import numpy as np

# %% [markdown]
# ## The given ones: labs 1, 2 and 4
#
# Each backward takes dout, the gradient of what its forward returned, and the arguments of that forward.


# %%
def depthwise(x, w, stride):
    """Convolve each channel of x (N, H, W, E) with its own filter in w (3, 3, E), padding 1: out (N, OH, OW, E)."""
    N, H, W, E = x.shape
    xp = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    OH, OW = (H - 1) // stride + 1, (W - 1) // stride + 1
    out = np.zeros((N, OH, OW, E), x.dtype)
    for i in range(3):
        for j in range(3):
            out += xp[:, i : i + stride * OH : stride, j : j + stride * OW : stride] * w[i, j]
    return out


def depthwise_backward(dout, x, w, stride):
    """The gradients (dx, dw) of depthwise."""
    OH, OW = dout.shape[1:3]
    xp = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    dxp, dw = np.zeros_like(xp), np.zeros_like(w)
    for i in range(3):
        for j in range(3):
            seen = np.s_[:, i : i + stride * OH : stride, j : j + stride * OW : stride]
            dxp[seen] += dout * w[i, j]
            dw[i, j] = (xp[seen] * dout).sum(axis=(0, 1, 2))
    return dxp[:, 1:-1, 1:-1], dw


def batchnorm(x, gamma, beta):
    """Give each channel of x (N, H, W, C) mean 0 and variance 1 over the batch, then scale and shift it."""
    xhat = (x - x.mean(axis=(0, 1, 2))) / np.sqrt(x.var(axis=(0, 1, 2)) + 1e-5)
    return xhat * gamma + beta


def batchnorm_backward(dout, x, gamma):
    """The gradients (dx, dgamma, dbeta) of batchnorm; x is what went into it."""
    std = np.sqrt(x.var(axis=(0, 1, 2)) + 1e-5)
    xhat = (x - x.mean(axis=(0, 1, 2))) / std
    dbeta, dgamma = dout.sum(axis=(0, 1, 2)), (dout * xhat).sum(axis=(0, 1, 2))
    m = x.size // x.shape[-1]
    return gamma / std * (dout - dbeta / m - xhat * dgamma / m), dgamma, dbeta


def relu6(x):
    """0 below 0, 6 above 6, x between."""
    return np.minimum(np.maximum(x, 0), 6)


# %% [markdown]
# ## Yours
#
# p is a dict of arrays: we (C, E), gamma1, beta1 (E,); wd (3, 3, E), gamma2, beta2 (E,); wp (E, M), gamma3, beta3 (M,).
# If "we" is not in p there is no expansion: "gamma1" and "beta1" are not there either, and the filter sees x.


# %%
def block_forward(x, p, stride):
    """The inverted residual: given x (N, H, W, C), return the tuple (out, cache), out being (N, OH, OW, M).

    cache is whatever your backward needs. If it is a dict, and holds intermediates under the handout's names (wide,
    wide_norm, wide_act, filtered, filtered_norm, filtered_act, narrow, narrow_norm), the grader compares them too.
    """
    C, M, wide_act, cache = x.shape[3], p["wp"].shape[1], x, {"x": x, "p": p, "stride": stride}
    if "we" in p:
        cache["wide"] = x @ p["we"]
        cache["wide_norm"] = batchnorm(cache["wide"], p["gamma1"], p["beta1"])
        wide_act = relu6(cache["wide_norm"])
    cache["wide_act"] = wide_act
    cache["filtered"] = depthwise(wide_act, p["wd"], stride)
    cache["filtered_norm"] = batchnorm(cache["filtered"], p["gamma2"], p["beta2"])
    cache["filtered_act"] = relu6(cache["filtered_norm"])
    cache["narrow"] = cache["filtered_act"] @ p["wp"]
    out = batchnorm(cache["narrow"], p["gamma3"], p["beta3"])
    return (x + out if stride == 1 and C == M else out), cache


def block_backward(dout, cache):
    """The gradients of block_forward: given dout (N, OH, OW, M), return the tuple (dx, grads).

    dx has the shape of x. grads is a dict with the names that p has, each with the shape it has in p.
    """
    x, p, stride = cache["x"], cache["p"], cache["stride"]
    grads = {}
    # project: no activation, so dout goes straight into batch norm
    dnarrow, grads["gamma3"], grads["beta3"] = batchnorm_backward(dout, cache["narrow"], p["gamma3"])
    grads["wp"] = np.einsum("nhwe,nhwm->em", cache["filtered_act"], dnarrow)
    # filter
    inside = (cache["filtered_norm"] > 0) & (cache["filtered_norm"] < 6)
    dfiltered_norm = dnarrow @ p["wp"].T * inside
    dfiltered, grads["gamma2"], grads["beta2"] = batchnorm_backward(dfiltered_norm, cache["filtered"], p["gamma2"])
    dx, grads["wd"] = depthwise_backward(dfiltered, cache["wide_act"], p["wd"], stride)
    # widen
    if "we" in p:
        inside = (cache["wide_norm"] > 0) & (cache["wide_norm"] < 6)
        dwide, grads["gamma1"], grads["beta1"] = batchnorm_backward(dx * inside, cache["wide"], p["gamma1"])
        grads["we"] = np.einsum("nhwc,nhwe->ce", x, dwide)
        dx = dwide @ p["we"].T
    # x is used twice if there is a shortcut
    return (dx + dout if stride == 1 and x.shape[3] == p["wp"].shape[1] else dx), grads


# %% [markdown]
# ## A network of your blocks
#
# Given. No weights before the first block: a pixel and its eight neighbours are its nine channels. Batch norm takes the
# statistics of the images it is given, when the held-out digits are judged as well.

# %%
BLOCKS = [(36, 16, 2), (48, 16, 1), (48, 16, 1)]  # (E, M, stride) of each


def with_neighbours(images):
    """Images (N, 8, 8) of pixels 0 to 16 as float32 (N, 8, 8, 9), about -1 to 1."""
    xp = np.pad(images / 8 - 1, ((0, 0), (1, 1), (1, 1)), constant_values=-1)
    return np.stack([xp[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3)], axis=-1).astype(np.float32)


def new_network(rng):
    """Random weights: a dict for each block, and one for the classifier."""
    network, C = [], 9
    for E, M, _ in BLOCKS:
        p = {"we": rng.normal(0, (2 / C) ** 0.5, (C, E)), "wd": rng.normal(0, (2 / 9) ** 0.5, (3, 3, E))}
        p["wp"] = rng.normal(0, (2 / E) ** 0.5, (E, M))
        for k, channels in (("1", E), ("2", E), ("3", M)):
            p["gamma" + k], p["beta" + k] = np.ones(channels), np.zeros(channels)
        network.append(p)
        C = M
    network.append({"w": rng.normal(0, 0.1, (C, 10)), "b": np.zeros(10)})
    return [{name: array.astype(np.float32) for name, array in p.items()} for p in network]


def scores_of(network, x):
    """The ten scores (N, 10) of each image, and what the backward needs."""
    caches = []
    for p, (_, _, stride) in zip(network[:-1], BLOCKS, strict=True):
        x, cache = block_forward(x, p, stride)
        caches.append(cache)
    mean = x.mean(axis=(1, 2))
    return mean @ network[-1]["w"] + network[-1]["b"], (caches, x.shape, mean)


def gradients(network, x, labels):
    """The gradients of the mean cross-entropy, in dicts like those of the network."""
    scores, (caches, shape, mean) = scores_of(network, x)
    dscores = np.exp(scores - scores.max(axis=1, keepdims=True))
    dscores /= dscores.sum(axis=1, keepdims=True)
    dscores[np.arange(len(labels)), labels] -= 1
    dscores /= len(labels)
    grads = [{"w": mean.T @ dscores, "b": dscores.sum(axis=0)}]
    dmean = dscores @ network[-1]["w"].T
    dx = np.broadcast_to(dmean[:, None, None] / (shape[1] * shape[2]), shape)
    for cache in reversed(caches):
        dx, own = block_backward(dx, cache)
        grads.insert(0, own)
    return grads


def train(epochs, rate=0.2, batch=64, seed=0):
    """SGD with momentum on the digits; prints a line an epoch, and returns the share of held-out digits it knows."""
    with np.load("digits.npz") as file:
        x, labels = with_neighbours(file["images"]), file["labels"].astype(int)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(x))
    held_out, rest = order[:360], order[360:]
    network = new_network(rng)
    speed = [{name: np.zeros_like(array) for name, array in p.items()} for p in network]
    for epoch in range(epochs):
        now = rate * (1 + np.cos(np.pi * epoch / epochs)) / 2  # from rate down to almost 0
        rng.shuffle(rest)
        for k in range(0, len(rest) - batch + 1, batch):
            chosen = rest[k : k + batch]
            for p, v, g in zip(network, speed, gradients(network, x[chosen], labels[chosen]), strict=True):
                for name in p:
                    v[name] = 0.9 * v[name] - now * g[name]
                    p[name] += v[name]
        right = (scores_of(network, x[held_out])[0].argmax(axis=1) == labels[held_out]).mean()
        print(f"epoch {epoch + 1}: {right:.1%} of the held-out digits")
    return right


# %% [markdown]
# ## Try it
#
# First the example of the handout: out must be -7, -3, 9, 5, dwp -96, 120, and dx 38, -19.2, -14.8, 4. Then eight
# epochs on the digits: `python -m npmnv2 lab start 5` has written digits.npz beside this file.

# %%
if __name__ == "__main__":
    x = np.array([-10.0, 10.0, 10.0, -10.0]).reshape(1, 1, 4, 1)
    wd = np.zeros((3, 3, 2))
    wd[1, 0, 0] = wd[1, 1, 1] = 1  # channel 0 sees its left neighbour, channel 1 itself
    p = {"we": np.array([[1.0, -2.0]]), "wd": wd, "wp": np.array([[5.0], [4.0]])}
    p |= {"gamma1": np.array([5.0, 2.0]), "beta1": np.array([4.0, 3.0])}
    p |= {"gamma2": np.array([2.0, 3.0]), "beta2": np.array([1.0, 4.0])}
    p |= {"gamma3": np.array([10.0]), "beta3": np.array([1.0])}
    out, cache = block_forward(x, p, stride=1)
    dx, grads = block_backward(np.array([38.0, 0.0, -34.0, 4.0]).reshape(1, 1, 4, 1), cache)
    print(out.ravel().round(3), grads["wp"].ravel().round(3), dx.ravel().round(3))
    train(epochs=8)
