"""The made-up heart at work: every wave of every beat of one record, breathing and never twice alike."""

import math
from dataclasses import dataclass
from random import Random

import numpy as np

from einthoven.data.synthesis.anatomy import Build, intervals_of
from einthoven.data.synthesis.cohort import Visit
from einthoven.data.synthesis.loops import (
    Table,
    Waves,
    atrial_table,
    ectopic_table,
    fibrillation_waves,
    recovery_table,
    ventricular_table,
)
from einthoven.data.synthesis.rhythm import Beat, beats_of, rate_of

NONE = np.empty((0, 7))
LONGEST = 1.6  # s, RR beyond which QT grows no more
THINNEST = 0.006  # s, sd of the thinnest wave


@dataclass(frozen=True)
class Heartbeats:
    """What the heart did during one record."""

    waves: Waves
    rate: float  # bpm, true
    pr: float  # ms; nan in fibrillation
    qrs: float  # ms, of the conducted beats
    axis: float  # degrees, frontal QRS axis: 0 points left, 90 to the feet
    breath: float  # Hz
    ectopics: int  # early ventricular beats within the record


def run_heart(
    visit: Visit, build: Build, seconds: float, rng: Random, bulk: np.random.Generator
) -> Heartbeats:
    """Let the heart of one visit beat for the length of a record; `bulk` draws what comes by the array."""
    times = intervals_of(visit, build, rng)
    breath = rng.uniform(0.18, 0.32)
    beats = beats_of(visit, seconds, breath, rng)
    early = [beat for beat in beats if beat.ectopic]
    qrs = ventricular_table(visit, build, times)
    beat = (atrial_table(visit, build, times), qrs, recovery_table(visit, build, times))
    pieces = [play([b for b in beats if not b.ectopic], beat, times.qtc, breath, bulk)]
    if early:
        pieces.append(play(early, (NONE, ectopic_table(build), NONE), times.qtc + 40, breath, bulk))
    if visit.grade("AFIB"):
        pieces.append(fibrillation_waves(seconds, rng))
    return Heartbeats(
        waves=np.concatenate(pieces),
        rate=rate_of(beats, seconds),
        pr=math.nan if visit.grade("AFIB") else times.pr,
        qrs=times.qrs,
        axis=axis_of(qrs),
        breath=breath,
        ectopics=sum(0 < b.onset < seconds - 0.2 for b in early),
    )


def play(
    beats: list[Beat],
    beat: tuple[Table, Table, Table],
    qtc: float,
    breath: float,
    bulk: np.random.Generator,
) -> Waves:
    """Repeat one beat (its P, QRS and recovery) at every onset: scaled, shifted and turned a little.

    Heart and chest move with the breath, which swells and turns the dipole; QT follows the RR
    interval by Fridericia's cube root, three quarters the mean's and a quarter the last one's.
    """
    table = np.concatenate(beat)
    group = np.repeat([0, 1, 2], [len(part) for part in beat])
    onset, gap, _ = np.array(beats).T
    gap = np.minimum(gap, LONGEST)
    qt = (qtc / 1000 * np.cbrt(0.75 * gap.mean() + 0.25 * gap))[:, None]

    depth, tilt, phase = bulk.uniform((0.01, 0.01, 0.0), (0.06, 0.09, math.tau))
    air = np.sin(math.tau * breath * onset + phase)[:, None]
    size, shift = bulk.standard_normal((2, len(beats), 3))
    scale = (1 + depth * air) * (1 + size * (0.06, 0.02, 0.035))[:, group]

    waves = np.empty((len(beats), len(table), 5))
    waves[:, :, 0] = onset[:, None] + table[:, 0] + qt * table[:, 1] + (shift * (0.003, 0.0, 0.002))[:, group]
    waves[:, :, 1] = np.maximum(table[:, 2] + qt * table[:, 3], THINNEST)
    waves[:, :, 2] = scale * (table[:, 4] - tilt * air * table[:, 5])
    waves[:, :, 3] = scale * (table[:, 5] + tilt * air * table[:, 4])
    waves[:, :, 4] = scale * table[:, 6]
    return waves.reshape(-1, 5)


def axis_of(qrs: Table) -> float:
    """Return the direction of the area under QRS in the frontal plane, in degrees.

    >>> axis_of(np.array([[0.0, 0.0, 0.01, 0.0, 1.0, 1.0, 5.0]]))
    45.0
    """
    x, y = qrs[:, 2] @ qrs[:, 4:6]
    return math.degrees(math.atan2(y, x))
