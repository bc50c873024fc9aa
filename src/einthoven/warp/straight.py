"""Distances that leave time as it is: the same sample of both ECGs is compared."""

import numba
import numpy as np
from jaxtyping import Bool, Float

CLOSE = 1e-6  # of the squared sizes: below, the product of matrices has too few digits left

Ecgs = Float[np.ndarray, "record lead time"]


def euclidean(ecg: Ecgs) -> Float[np.ndarray, "record record"]:
    """Return the root of summed squared differences of all pairs, by one product of matrices.

    >>> one = np.array([[[0.0, 0.0]], [[3.0, 4.0]]], dtype=np.float32)
    >>> euclidean(one)[0, 1]
    np.float32(5.0)
    """
    refuse_gaps(ecg)
    flat = ecg.reshape(len(ecg), ecg.shape[1] * ecg.shape[2]).astype(np.float64)
    flat -= flat.sum(0) / max(1, len(flat))
    product = flat @ flat.T
    sizes = product.diagonal()
    squares = np.maximum(sizes[:, None] + sizes - 2 * product, 0)
    first, second = np.nonzero(np.triu(squares < CLOSE * (sizes[:, None] + sizes), 1))
    for i, j in zip(first, second, strict=True):
        squares[i, j] = squares[j, i] = np.square(flat[i] - flat[j]).sum()
    np.fill_diagonal(squares, 0)
    lower = np.tril(np.sqrt(squares), -1).astype(np.float32)
    return lower + lower.T


def mean_absolute(
    ecg: Ecgs, missing: Bool[np.ndarray, "record record"] | None = None
) -> Float[np.ndarray, "record record"]:
    """Return the mean absolute difference of all pairs, or of those that are missing."""
    refuse_gaps(ecg)
    wanted = np.ones((len(ecg), len(ecg)), np.bool_) if missing is None else missing
    out = np.zeros(wanted.shape, np.float32)
    flat = np.ascontiguousarray(ecg, dtype=np.float32).reshape(len(ecg), -1)
    sum_gaps(flat, wanted, out)
    return out / max(1, flat.shape[1])


@numba.njit(nogil=True, cache=True, fastmath={"reassoc"})
def sum_gaps(flat, wanted, out):  # type: ignore[no-untyped-def]
    """Sum absolute differences; in any order, so that the loop runs in vectors."""
    for i in range(len(flat)):
        for j in range(i + 1, len(flat)):
            if wanted[i, j]:
                one, other, total = flat[i], flat[j], np.float32(0)
                for k in range(len(one)):
                    total += abs(one[k] - other[k])
                out[i, j] = out[j, i] = total


def refuse_gaps(ecg: Ecgs) -> None:
    """Refuse ECGs with missing samples."""
    if not np.isfinite(ecg).all():
        row = int(np.argmin(np.isfinite(ecg).all((1, 2))))
        raise ValueError(f"ECG {row} of those to compare has missing samples: fill or drop them.")
