"""What may be wrong with an ECG, told by its samples alone."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from einthoven.ecg import LEADS

FLAT = 0.01  # mV from the lowest to the highest sample: less than the noise of any living lead
HIGH = 10.0  # mV: hearts stay below 5, so this is a wrong unit, a pacemaker or a loose electrode
RAIL = 1.0  # mV from the lead's median: where an amplifier may run against its limit
RAIL_SECONDS = 0.02  # as long as that, and three samples, no heart rests at its own extreme
STEEP = 0.05  # mV from one sample to the next, into or out of the plateau: slow drifts have flat tops too
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


def railed(ecg: Float[np.ndarray, "lead time"], hertz: float) -> int:
    """Count the samples (mV, of the file) on plateaus at a lead's own extreme: a clipped amplifier."""
    long, count = max(3, round(RAIL_SECONDS * hertz)), 0
    for extreme in (np.fmax.reduce(ecg, axis=1), np.fmin.reduce(ecg, axis=1)):
        there = ecg == extreme[:, None]
        for lead in np.flatnonzero(there.sum(axis=1) >= long):  # nearly always none
            if abs(extreme[lead] - np.nanmedian(ecg[lead])) < RAIL:
                continue
            runs = np.split(places := np.flatnonzero(there[lead]), np.flatnonzero(np.diff(places) > 1) + 1)
            steps = np.nan_to_num(np.abs(np.diff(ecg[lead], prepend=np.nan, append=np.nan)))
            steep = [max(steps[run[0]], steps[run[-1] + 1]) >= STEEP for run in runs]
            count += sum(len(run) for run, cut in zip(runs, steep, strict=True) if cut and len(run) >= long)
    return count


def breaks_law(limb: Float[np.ndarray, "3 time"], missing: Bool[np.ndarray, "3 time"]) -> bool:
    """Do leads I, II, III break II = I + III by more than noise? Offsets are no matter."""
    gap = limb[1] - limb[0] - limb[2]
    if missing.any():
        gap = gap[~missing.any(axis=0)]
    if not gap.size or gap.max() - gap.min() <= 2 * LAW:  # its standard deviation is at most half of that
        return False
    return bool(gap.std() > max(LAW, LAW_SHARE * limb.std(axis=1).max()))
