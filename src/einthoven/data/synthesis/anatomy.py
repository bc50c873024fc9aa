"""How one made-up heart lies in its chest and conducts: drawn once for a patient, worn by every visit."""

import math
from dataclasses import dataclass
from functools import lru_cache
from random import Random

import numpy as np
from jaxtyping import Float

from einthoven.data.synthesis.cohort import Visit, dice, draw_patient


@dataclass(frozen=True)
class Build:
    """A patient's heart in health, and the character that a disease will take in it."""

    gain: float  # of QRS: body and sex
    frontal: float  # rad, turn of the QRS axis from left towards the feet
    horizontal: float  # rad, turn of the QRS axis from left towards the back
    t_gain: float
    t_frontal: float
    t_horizontal: float
    p_gain: float
    p_ms: float
    left_atrium: float  # log of its size
    pr_ms: float
    qrs_ms: float
    qtc_ms: float
    fresh: float  # 0: infarcts are old; 1: ST is still raised
    strain: float  # how much hypertrophy bends ST and T
    territory: float  # rad, the frontal angle where ischaemia sits
    own: Float[np.ndarray, "part 3"]  # mV, what makes each part of QRS the patient's own
    ectopic: Float[np.ndarray, " 3"]  # mV, where early beats go
    body: Float[np.ndarray, "electrode 3"]  # sd, how this chest differs from the average lead field


@dataclass(frozen=True)
class Intervals:
    """Durations at one visit, in ms; `pr` means nothing in fibrillation."""

    p: float
    pr: float
    narrow: float  # QRS as it would be without a block
    qrs: float
    qtc: float  # by Fridericia


@lru_cache(maxsize=64)
def build_of(seed: int, number: int) -> Build:
    """Draw the build of one patient: sex, age and filling pressure move its means."""
    patient = draw_patient(seed, number)
    rng = dice(seed, "heart", number)
    normal = rng.gauss
    female, filling, decade = patient.sex == "female", patient.filling, (patient.age - 60) / 10
    tilt = rng.uniform(0, math.tau)
    return Build(
        gain=math.exp(normal(-0.10 if female else 0.05, 0.19)),
        frontal=math.radians(normal(2 - 5 * decade, 20)),
        horizontal=math.radians(normal(0, 14)),
        t_gain=math.exp(normal(-0.05 - 0.05 * decade - 0.10 * filling - (0.12 if female else 0), 0.24)),
        t_frontal=math.radians(normal(0, 14)),
        t_horizontal=math.radians(normal(18 if female else 0, 16)),
        p_gain=math.exp(normal(0, 0.20)),
        p_ms=normal(103 + 2 * decade, 7),
        left_atrium=normal(0, 0.25),
        pr_ms=min(max(normal(158 + 3 * decade, 15), 118), 196),
        qrs_ms=normal(87 if female else 94, 5.5),
        qtc_ms=normal(413 if female else 402, 15),
        fresh=rng.random() ** 2,
        strain=rng.random(),
        territory=rng.uniform(-0.5, 1.7),
        own=np.array([[normal(0, 0.05) for _ in "xyz"] for _ in range(5)]),
        ectopic=np.array([0.9 * math.cos(tilt), 1.1 * math.sin(tilt) + 0.2, rng.choice((-0.6, 0.8))]),
        body=np.array([[normal(0, 1) for _ in "xyz"] for _ in range(9)]),
    )


def intervals_of(visit: Visit, build: Build, rng: Random) -> Intervals:
    """Return what disease, rate and filling pressure make of a patient's intervals today."""
    narrow = build.qrs_ms + 3.5 * visit.filling + 10 * visit.grade("LVH") + rng.gauss(0, 1.5)
    narrow = min(max(narrow, 74.0), 116.0)
    block = max(visit.grade("CLBBB"), visit.grade("CRBBB"))
    qrs = narrow + 12 + 50 * block if block else narrow
    p = min(max(build.p_ms + 7.0 * visit.filling + rng.gauss(0, 2), 78.0), 140.0)
    quick = min((60 / visit.pulse) ** 0.2, 1.05)  # the node conducts faster at a higher rate
    pr = (build.pr_ms + 3 * visit.filling) * quick
    if visit.grade("1AVB"):
        pr = 188 + 95 * visit.grade("1AVB") + rng.gauss(0, 4)
    return Intervals(
        p=p, pr=max(pr, p + 18), narrow=narrow, qrs=qrs, qtc=build.qtc_ms + 0.75 * (qrs - narrow)
    )
