"""When the made-up heart beats: sinus rhythm that breathes, fibrillation, and early ventricular beats."""

import math
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from einthoven.data.synthesis.cohort import Visit

LEAD_IN = 2.0  # seconds of beats before and after the record, so that waves run across its edges


class Beat(NamedTuple):
    """One ventricular beat."""

    onset: float  # s, start of QRS after the start of the record
    gap: float  # s, RR interval before it
    ectopic: bool  # from the ventricle, with no P wave


def beats_of(visit: Visit, seconds: float, breath: float, rng: Random) -> list[Beat]:
    """Draw the beats of one record, a little beyond both of its ends; `breath` in Hz."""
    mean = 60 / visit.pulse
    gap_after = fibrillating(mean, rng) if visit.grade("AFIB") else sinus(mean, visit.age, breath, rng)
    burden = 0.06 + 0.22 * visit.grade("PVC") if visit.grade("PVC") else 0.0
    coupling = max(rng.uniform(0.52, 0.68) * mean, 0.36)

    beats: list[Beat] = []
    onset = -LEAD_IN + mean * rng.random()
    last = onset - mean
    while onset < seconds + LEAD_IN:
        beats.append(Beat(onset, onset - last, False))
        gap, last = gap_after(onset), onset
        if coupling < 0.9 * mean and rng.random() < burden:
            last = onset + coupling
            beats.append(Beat(last, coupling, True))
            # The sinus node keeps its time, but its next beat finds the ventricle refractory: a full pause.
            gap = coupling + max(gap, 1.1 * mean) if visit.grade("AFIB") else gap + mean
        onset += gap
    return beats


def sinus(mean: float, age: float, breath: float, rng: Random) -> Callable[[float], float]:
    """Return what gives the RR interval (s) after an onset: it swings with the breath, most in the young."""
    swing = 0.045 * math.exp(-(age - 20) / 45)
    phase, slow_phase = rng.uniform(0, math.tau), rng.uniform(0, math.tau)

    def gap_after(onset: float) -> float:
        fast = swing * math.sin(math.tau * breath * onset + phase)
        slow = 0.012 * math.sin(math.tau * 0.1 * onset + slow_phase)
        return mean * (1 + fast + slow + 0.007 * rng.gauss(0, 1))

    return gap_after


def fibrillating(mean: float, rng: Random) -> Callable[[float], float]:
    """Return what gives the RR interval (s) after any onset: no two alike, none under 0.32 s."""
    spread = rng.uniform(0.15, 0.26)

    def gap_after(onset: float) -> float:
        return max(mean * rng.gammavariate(1 / spread**2, spread**2), 0.32)

    return gap_after


def rate_of(beats: list[Beat], seconds: float) -> float:
    """Return the true ventricular rate in bpm: mean over the RR intervals that lie within the record.

    >>> rate_of([Beat(-0.5, 1, False), Beat(0.5, 1, False), Beat(1.5, 1, False)], 10.0)
    60.0
    """
    inside = [beat.onset for beat in beats if 0 <= beat.onset < seconds]
    if len(inside) < 2:
        inside = [beat.onset for beat in beats]
    return 60 * (len(inside) - 1) / (inside[-1] - inside[0])
