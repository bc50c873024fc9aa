"""Who the made-up patients are: age, sex, chronic disease, and what each visit finds in graded severity.

Everything here is a pure function of (seed, number): a record can be made alone, anywhere, in any order.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from random import Random
from typing import NamedTuple

VISITS = (1, 2, 1, 3, 1, 1, 2, 4, 1, 2)  # ECGs of ten patients in a row; the pattern then repeats
ENDS = tuple(accumulate(VISITS))
CATHETER = 1.5  # mmHg, sd of the error of one measured filling pressure
LOWEST, HIGHEST = 4.0, 40.0  # mmHg that a catheter reads


class Risk(NamedTuple):
    """Share of people with a condition at 60 years, and what moves it, in log-odds."""

    share: float
    decade: float
    male: float
    filling: float  # per sd of the hidden filling pressure


# Shares count the subtle cases too; a reader calls about three quarters of them.
RISKS = {
    "AMI": Risk(0.105, 0.30, 0.50, 0.30),
    "IMI": Risk(0.115, 0.30, 0.50, 0.20),
    "ISC_": Risk(0.130, 0.25, 0.00, 0.20),
    "NST_": Risk(0.120, 0.15, -0.30, 0.10),
    "CLBBB": Risk(0.060, 0.45, 0.00, 0.40),
    "CRBBB": Risk(0.075, 0.45, 0.30, 0.10),
    "1AVB": Risk(0.065, 0.40, 0.20, 0.15),
    "LVH": Risk(0.140, 0.25, 0.20, 0.50),
    "AFIB": Risk(0.065, 0.60, 0.20, 0.60),
    "PVC": Risk(0.100, 0.30, 0.10, 0.20),
}
OF_THE_DAY = ("ISC_", "NST_")  # these come and go between visits; the others are a patient's own
EXCLUSIVE = (("CLBBB", "CRBBB"), ("AFIB", "1AVB"))


@dataclass(frozen=True)
class Patient:
    """One made-up person."""

    number: int
    sex: str
    age: float  # years, at the first visit
    filling: float  # hidden filling pressure, in sd from the population's mean
    pulse: float  # bpm at rest, in sinus rhythm
    fold: int  # 1 to 10
    severity: Mapping[str, float]  # of each condition the patient has; 0 to 1


@dataclass(frozen=True)
class Visit:
    """One ECG to be made: the truth behind it, before any reader has seen it."""

    patient: Patient
    number: int  # of this patient's ECGs, from 0
    age: float
    filling: float
    pcwp: float  # mmHg, as a catheter measured it
    pulse: float  # bpm
    severity: Mapping[str, float]

    def grade(self, condition: str) -> float:
        """Return the severity of a condition, 0 where there is none."""
        return self.severity.get(condition, 0.0)


def dice(*name: object) -> Random:
    """Return the random numbers that belong to a name: the same on every machine, for ever."""
    return Random("/".join(("einthoven", *map(str, name))))


def seat(index: int) -> tuple[int, int]:
    """Return the patient's number and the visit's number of a record.

    >>> [seat(index) for index in (0, 1, 2, 3, 18)]
    [(0, 0), (1, 0), (1, 1), (2, 0), (10, 0)]
    """
    ten, place = divmod(index, ENDS[-1])
    person = bisect_right(ENDS, place)
    return ten * len(VISITS) + person, place - (ENDS[person] - VISITS[person])


def fold_of(number: int) -> int:
    """Return the fold of a patient, 1 to 10: ten patients in a row have ten folds.

    The order turns by one every ten patients, so after a hundred the folds hold equally many ECGs.

    >>> [fold_of(number) for number in (0, 9, 10, 19)]
    [1, 10, 2, 1]
    """
    ten, person = divmod(number, len(VISITS))
    return 1 + (person + ten) % len(VISITS)


@lru_cache(maxsize=64)
def draw_patient(seed: int, number: int) -> Patient:
    """Draw one person: filling pressure first, then age, then the diseases that go with both."""
    rng = dice(seed, "patient", number)
    filling = rng.gauss(0, 1)
    age = min(max(59 + 15 * (0.35 * filling + 0.94 * rng.gauss(0, 1)), 18.0), 94.0)
    sex = "female" if rng.random() < 0.48 else "male"
    severity = {
        condition: 0.12 + 0.88 * rng.betavariate(1.7, 1.3)
        for condition, risk in RISKS.items()
        if rng.random() < chance(risk, age, sex, filling)
    }
    for one, other in EXCLUSIVE:
        if one in severity:
            severity.pop(other, None)
    pulse = rng.gauss(71, 8) + 3.0 * filling + (2 if sex == "female" else 0)
    kind = rng.random()
    if kind < 0.05:
        pulse = rng.gauss(52, 4)
    elif kind < 0.12:
        pulse = rng.gauss(108, 9)
    return Patient(number, sex, age, filling, pulse, fold_of(number), severity)


def chance(risk: Risk, age: float, sex: str, filling: float) -> float:
    """Return the probability that somebody has a condition."""
    odds = math.log(risk.share / (1 - risk.share)) + risk.decade * (age - 60) / 10
    odds += risk.filling * filling + risk.male * (0.5 if sex == "male" else -0.5)
    return 1 / (1 + math.exp(-odds))


def draw_visit(seed: int, index: int) -> Visit:
    """Draw the truth behind one record."""
    number, turn = seat(index)
    patient = draw_patient(seed, number)
    rng = dice(seed, "visit", number, turn)
    filling = 0.93 * patient.filling + 0.37 * rng.gauss(0, 1)
    severity = {}
    for condition, grade in patient.severity.items():
        comes = 0.85 if condition in OF_THE_DAY or condition == "AFIB" else 1.0
        if rng.random() < comes:
            severity[condition] = min(grade * math.exp(rng.gauss(0, 0.12)), 1.0)
    pulse = patient.pulse + rng.gauss(0, 4) + 2.0 * (filling - patient.filling)
    if "AFIB" in severity:
        pulse += 12  # the node lets through what it can
    return Visit(
        patient=patient,
        number=turn,
        age=patient.age + 1.5 * turn,
        filling=filling,
        pcwp=measured(filling, rng),
        pulse=min(max(pulse, 42.0), 150.0),
        severity=severity,
    )


def measured(filling: float, rng: Random) -> float:
    """Return a pressure in mmHg as read from the catheter: skewed, about 16 +- 8, within 4 to 40."""
    read = pressure(filling) + CATHETER * rng.gauss(0, 1)
    return round(min(max(read, LOWEST), HIGHEST), 1)


def pressure(filling: float) -> float:
    """Return the true pressure (mmHg) behind a filling pressure in sd, before any error."""
    return 4.0 + math.exp(2.30 + 0.60 * filling)
