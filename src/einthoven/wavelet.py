"""Wavelet statistics: the classical features of the PTB-XL benchmark, 864 for twelve leads.

Strodthoff et al. 2021, doi:10.1109/JBHI.2020.3022989: each lead is split by Daubechies' wavelet db6 into
six bands (the approximation, then details from coarse to fine), each band told by twelve statistics.
"""

import numpy as np
from jaxtyping import Float

WAVELET, LEVELS = "db6", 5
PERCENTILES = (5, 25, 50, 75, 95)
STATISTICS = (
    "entropy",
    "zero_crossings",
    "mean_crossings",
    *(f"percentile_{share}" for share in PERCENTILES),
    "mean",
    "sd",
    "variance",
    "rms",
)


def wavelet_features(ecg: Float[np.ndarray, "record lead time"]) -> Float[np.ndarray, "record feature"]:
    """Return the statistics of every band of every lead, in this order; `ecg` in mV."""
    if not np.isfinite(ecg).all():
        raise ValueError("Wavelet features cannot read NaN or infinite samples.")
    told = np.stack([statistics(band) for band in bands(ecg)], axis=2)  # record lead band statistic
    return told.reshape(len(ecg), -1)


def features_of_a_lead() -> int:
    """Return how many numbers tell one lead."""
    return (LEVELS + 1) * len(STATISTICS)


def bands(ecg: Float[np.ndarray, "record lead time"]) -> list[Float[np.ndarray, "record lead _"]]:
    """Split ECGs into the approximation and five details, coarse to fine, mirrored at both ends."""
    import pywt

    details = []
    for _ in range(LEVELS):
        ecg, detail = pywt.dwt(ecg, WAVELET, axis=2)
        details.append(detail)
    return [ecg, *reversed(details)]


def statistics(band: Float[np.ndarray, "record lead time"]) -> Float[np.ndarray, "record lead statistic"]:
    """Tell each band by numbers, in the order of STATISTICS.

    Crossings count the changes of sign of c, and of c less its mean; a zero counts as negative. The
    entropy (nats) is that of the shares of the energy, c² / sum of c²: 0 when one coefficient holds it all,
    log n when all hold the same, and 0 in a silent band. The benchmark's own counts how often each value
    occurs, which on real numbers is log n whatever the ECG.
    """
    mean = band.mean(2, keepdims=True)
    variance = band.var(2)
    shares = np.percentile(band, PERCENTILES, axis=2)
    rms = np.sqrt(np.square(band).mean(2))
    told = [entropy(band), crossings(band), crossings(band - mean), *shares]
    return np.stack([*told, mean[:, :, 0], np.sqrt(variance), variance, rms], axis=2).astype(np.float32)


def entropy(band: Float[np.ndarray, "record lead time"]) -> Float[np.ndarray, "record lead"]:
    """Return the entropy of where the energy lies."""
    energy = np.square(band, dtype=np.float64)
    share = energy / np.maximum(energy.sum(2, keepdims=True), np.finfo(float).tiny)
    logarithm = np.log(share, where=share > 0, out=np.zeros_like(share))
    return np.asarray(-(share * logarithm).sum(2))


def crossings(band: Float[np.ndarray, "record lead time"]) -> Float[np.ndarray, "record lead"]:
    """Count the changes of sign."""
    above = band > 0
    return np.asarray((above[:, :, 1:] != above[:, :, :-1]).sum(2), np.float64)
