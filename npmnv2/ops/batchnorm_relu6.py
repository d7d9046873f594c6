"""Batch normalisation, then ReLU6, as one operation: `batchnorm.py` and `activation.py`, one after the other.

The pair follows two of the three convolutions of every block. It is one operation because the cache of batch norm is
all that its backward needs, and because a compiled version does both in one pass over memory.
"""

from npmnv2.ops.activation import let_through, relu6, relu6_mask
from npmnv2.ops.batchnorm import (
    BatchNormCache,
    batchnorm_forward,
    batchnorm_inference,
    batchnorm_inference_backward,
    closed_form,
)
from npmnv2.validate import Array, check_dout


def batchnorm_relu6_forward(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> tuple[Array, BatchNormCache]:
    """`batchnorm_forward`, then ReLU6.

    ::

        out = min(max(gamma * xhat + beta, 0), 6)

    Parameters
    ----------
    x, gamma, beta, eps
        As in `batchnorm_forward`.

    Returns
    -------
    out : ndarray, the shape and dtype of `x`
    cache : BatchNormCache

    Raises
    ------
    ValueError, TypeError
        As `batchnorm_forward`.

    Examples
    --------
    >>> x = np.array([[1.0], [3.0]])
    >>> batchnorm_relu6_forward(x, np.full(1, 7.0), np.zeros(1), eps=0.0)[0].ravel().tolist()
    [0.0, 6.0]
    """
    y, cache = batchnorm_forward(x, gamma, beta, eps)
    return relu6(y), cache


def batchnorm_relu6_backward(dout: Array, cache: BatchNormCache) -> tuple[Array, Array, Array]:
    """Push a gradient back through ReLU6, then through batch norm.

    The mask is not in the cache: whether a value was clipped follows from x again.

    Parameters
    ----------
    dout : ndarray, the shape and dtype of the forward's output
    cache : BatchNormCache

    Returns
    -------
    dx : ndarray, the shape of x
    dgamma, dbeta : ndarray of shape (C,)

    Raises
    ------
    ValueError, TypeError
        If `dout` has not the shape and dtype of the forward's output.

    Examples
    --------
    >>> x = np.array([[1.0], [3.0], [8.0]])
    >>> out, cache = batchnorm_relu6_forward(x, np.ones(1), np.zeros(1))
    >>> batchnorm_relu6_backward(np.ones((3, 1)), cache)[2].item()      # only 8.0 is above the mean
    1.0
    """
    dout = check_dout(dout, cache.x.shape, cache.x)
    xhat = (cache.x - cache.mean) * cache.inv_std
    # forward says: out = relu6(xhat * gamma + beta)
    dy = let_through(dout, relu6_mask(xhat * cache.gamma + cache.beta))
    return closed_form(dy, xhat, cache)


def batchnorm_relu6_inference(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float = 1e-5) -> Array:
    """`batchnorm_inference`, then ReLU6.

    Parameters
    ----------
    x, gamma, beta, mean, var, eps
        As in `batchnorm_inference`.

    Returns
    -------
    out : ndarray, the shape and dtype of `x`

    Raises
    ------
    ValueError, TypeError
        As `batchnorm_inference`.

    Examples
    --------
    >>> x, one = np.array([[5.0]]), np.ones(1)
    >>> batchnorm_relu6_inference(x, 2 * one, 10 * one, mean=3 * one, var=4 * one, eps=0.0).item()   # 12 is clipped
    6.0
    """
    y = batchnorm_inference(x, gamma, beta, mean, var, eps)
    out = relu6(y)
    return out


def batchnorm_relu6_inference_backward(
    dout: Array, x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """Push a gradient back through ReLU6, then through the fixed batch norm; the statistics are constants.

    Whether a value was clipped follows from x again, as in `batchnorm_relu6_backward`: hence `beta`, which
    `batchnorm_inference_backward` has no need of.

    Parameters
    ----------
    dout : ndarray, the shape and dtype of the forward's output
    x, gamma, beta, mean, var, eps
        The forward's arguments.

    Returns
    -------
    dx : ndarray, the shape of x
    dgamma, dbeta : ndarray of shape (C,)

    Raises
    ------
    ValueError, TypeError
        As `batchnorm_inference_backward`.

    Examples
    --------
    >>> x, one = np.array([[5.0], [1.0]]), np.ones(1)           # 2 * (x - 3) / 2 + 1 is 3 and -1: the second is clipped
    >>> dx, dgamma, dbeta = batchnorm_relu6_inference_backward(x, x, 2 * one, one, 3 * one, 4 * one, eps=0.0)
    >>> dx.ravel().tolist(), dgamma.item(), dbeta.item()
    ([5.0, 0.0], 5.0, 5.0)
    """
    y = batchnorm_inference(x, gamma, beta, mean, var, eps)
    dout = check_dout(dout, y.shape, y)
    # forward was: out = relu6(y)
    dy = let_through(dout, relu6_mask(y))
    return batchnorm_inference_backward(dy, x, gamma, mean, var, eps)
