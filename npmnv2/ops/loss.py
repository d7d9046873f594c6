"""Softmax, and the cross-entropy loss on top of it with label smoothing."""

from typing import Any

import numpy as np

from npmnv2.validate import Array, check_array, check_labels, check_number


def softmax(logits: Array) -> Array:
    """Turn each row of logits into probabilities.

    ::

        p[n, k] = exp(z[n, k]) / sum_j exp(z[n, j])

    k is one class, j runs over all of them. The largest logit of the row is subtracted first: it changes nothing, and
    no exponential can overflow.

    Parameters
    ----------
    logits : ndarray of shape (N, K)

    Returns
    -------
    p : ndarray of shape (N, K)
        Rows sum to 1.

    Raises
    ------
    TypeError
        If `logits` is not a float array.
    ValueError
        If `logits` has not 2 axes, or no classes.

    Examples
    --------
    >>> softmax(np.array([[0.0, np.log(3.0)]])).round(12).tolist()
    [[0.25, 0.75]]
    """
    logits = check_array(logits, "logits", "N K")
    shifted = logits - logits.real.max(axis=1, keepdims=True)
    e = np.exp(shifted)
    return e / e.sum(axis=1, keepdims=True)


def softmax_cross_entropy(logits: Array, labels: Array, label_smoothing: float = 0.0) -> tuple[np.floating[Any], Array]:
    """The mean cross-entropy between softmax(logits) and the labels, and its gradient.

    K is the number of classes, p the softmax of the logits, q the target, sigma the `label_smoothing`, and [...] is 1
    where what stands in it is true, else 0::

        q[n, k]       = (1 - sigma) * [k = labels[n]] + sigma / K
        loss          = -1/N sum_nk q[n, k] * log p[n, k]
        dlogits[n, k] = (p[n, k] - q[n, k]) / N

    Forward and backward are one function because the gradient needs only what the loss has just computed.

    Parameters
    ----------
    logits : ndarray of shape (N, K)
        N at least 1: a mean needs data.
    labels : ndarray of shape (N,), integer
        The class of each image, 0 to K - 1.
    label_smoothing : float
        The share of the target that all classes get alike, 0 to 1; MobileNetV2's authors train with 0.1.

    Returns
    -------
    loss : scalar in the dtype of `logits`
    dlogits : ndarray of shape (N, K)
        d(loss)/d(logits), the division by N included.

    Raises
    ------
    ValueError
        If N is 0, a label is out of range, lengths differ, or `label_smoothing` is outside [0, 1].
    TypeError
        If `labels` is not an integer array, or `logits` not a float one.

    References
    ----------
    .. [1] Szegedy et al., "Rethinking the Inception architecture", arXiv:1512.00567, section 7 (label smoothing).
    .. [2] docs/derivations/activations.md, "Softmax and cross-entropy".

    Examples
    --------
    >>> loss, dlogits = softmax_cross_entropy(np.array([[0.0, np.log(3.0)]]), np.array([1]))
    >>> round(float(np.exp(-loss)), 12), dlogits.round(12).tolist()         # probability 0.75 on the right class
    (0.75, [[0.25, -0.25]])
    """
    logits = check_array(logits, "logits", "N K")
    N, K = logits.shape
    if N == 0:
        raise ValueError(f"logits must hold at least one image: the loss is a mean; its shape was {logits.shape}")
    labels = check_labels(labels, "labels", N)
    if labels.min() < 0 or labels.max() >= K:
        raise ValueError(f"labels must lie between 0 and {K - 1}; they went from {labels.min()} to {labels.max()}")
    check_number(label_smoothing, "label_smoothing", 0, 1)

    rows = np.arange(N)
    q = np.full((N, K), label_smoothing / K, logits.dtype)  # (N, K)
    q[rows, labels] += 1 - label_smoothing

    shifted = logits - logits.real.max(axis=1, keepdims=True)  # .real: complex numbers have no largest
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    # a class that the target leaves out adds nothing, even if log p is -inf
    loss = -(q * np.where(q == 0, 0, log_p)).sum(axis=1).mean()
    dlogits = (np.exp(log_p) - q) / N
    return loss, dlogits
