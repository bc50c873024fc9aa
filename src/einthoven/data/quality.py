"""What may be wrong with an ECG, told by its samples alone."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from einthoven.ecg import LEADS

FLAT = 0.01  # mV from the lowest to the highest sample: less than the noise of any living lead
HIGH = 10.0  # mV: hearts stay below 5, so this is a wrong unit, a pacemaker or a loose electrode
LAW = 0.02  # mV, standard deviation: twice what rounding to a coarse 20 microvolts leaves
LAW_SHARE = 0.1  # of the largest limb lead: filters that differ a little are no violation


class Flags(NamedTuple):
    """The quality flags of one ECG; `flat` names leads, separated by spaces."""

    nan_share: float
    flat: str
    high: bool
    law: bool


def flags(
    ecg: Float[np.ndarray, "12 time"], present: Bool[np.ndarray, " 12"], measured: Bool[np.ndarray, " 12"]
) -> Flags:
    """Judge the valid span of one ECG (mV, NaN where samples lack).

    `present` leads are judged; Einthoven's law (II = I + III) where all three were `measured`, since
    derived leads obey it by themselves.
    """
    missing = np.isnan(ecg)
    holes = bool(missing.any())
    known = np.where(missing, np.float32(0), ecg) if holes else ecg
    flat = " ".join(
        lead for lead, r, here in zip(LEADS, reach(ecg), present, strict=True) if here and r < FLAT
    )
    return Flags(
        nan_share=round(float(missing[present].mean()), 6) if holes else 0.0,
        flat=flat,
        high=bool(known.max() > HIGH or known.min() < -HIGH),
        law=bool(measured[:3].all()) and breaks_law(known[:3], missing[:3]),
    )


def reach(ecg: Float[np.ndarray, "lead time"]) -> Float[np.ndarray, " lead"]:
    """Return the distance from the lowest to the highest sample of each lead, NaN left out."""
    span: Float[np.ndarray, " lead"] = np.fmax.reduce(ecg, axis=1) - np.fmin.reduce(ecg, axis=1)
    return span


def breaks_law(limb: Float[np.ndarray, "3 time"], missing: Bool[np.ndarray, "3 time"]) -> bool:
    """Do leads I, II, III break II = I + III by more than noise? Offsets are no matter."""
    gap = limb[1] - limb[0] - limb[2]
    if missing.any():
        gap = gap[~missing.any(axis=0)]
    if not gap.size or gap.max() - gap.min() <= 2 * LAW:  # its standard deviation is at most half of that
        return False
    return bool(gap.std() > max(LAW, LAW_SHARE * limb.std(axis=1).max()))
