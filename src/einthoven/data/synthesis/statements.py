"""The reader of the made-up ECGs: statements with human slips, and one rhythm for each record."""

import math
from random import Random

from einthoven.data.synthesis.cohort import Visit
from einthoven.data.synthesis.heart import Heartbeats

SUPERCLASS = {
    "NORM": "NORM",
    "AMI": "MI",
    "IMI": "MI",
    "ISC_": "STTC",
    "NST_": "STTC",
    "CLBBB": "CD",
    "CRBBB": "CD",
    "1AVB": "CD",
    "LVH": "HYP",
}
MISSED, INVENTED = 0.02, 0.003  # how often a reader overlooks what is plain, or sees what is not there
THRESHOLD, DOUBT = 0.32, 0.05  # severity at which half of all readers call it, and how softly
LONG_PR, PR_DOUBT = 200.0, 7.0  # ms
HIDDEN_BY_LEFT_BLOCK = ("AMI", "IMI", "LVH", "ISC_", "NST_")
MOST = 3  # diagnoses that a reader lists


def read_statements(visit: Visit, beats: Heartbeats, rng: Random) -> list[str]:
    """Return the codes a reader would give: NORM or diagnoses, then early beats, then the rhythm.

    A reader is sure of what is severe, tosses a coin at the threshold, and slips now and then. An ECG
    with early beats or fibrillation and no diagnosis is not normal: it has no superclass.
    """
    blocked = visit.grade("CLBBB") > THRESHOLD
    found = []
    for code in SUPERCLASS:
        if code == "NORM" or (blocked and code in HIDDEN_BY_LEFT_BLOCK and rng.random() < 0.75):
            continue
        if rng.random() < chance_of_call(doubts(code, visit, beats)):
            found.append((visit.grade(code), code))
    diagnoses = [code for _, code in sorted(found, reverse=True)[:MOST]]
    early = ["PVC"] if beats.ectopics and rng.random() > MISSED else []
    rhythm = read_rhythm(visit, beats, rng)
    normal = [] if diagnoses or early or rhythm == "AFIB" else ["NORM"]
    return [*normal, *diagnoses, *early, rhythm]


def doubts(code: str, visit: Visit, beats: Heartbeats) -> float:
    """Return by how many widths of a reader's doubt a finding lies above the threshold."""
    if code == "1AVB":
        return -math.inf if math.isnan(beats.pr) else (beats.pr - LONG_PR) / PR_DOUBT
    return (visit.grade(code) - THRESHOLD) / DOUBT


def chance_of_call(above: float) -> float:
    """Return the chance that a reader calls a finding.

    >>> [round(chance_of_call(above), 2) for above in (-math.inf, 0.0, 9.0)]
    [0.0, 0.49, 0.98]
    """
    return INVENTED + (1 - MISSED - INVENTED) / (1 + math.exp(-max(above, -700.0)))


def read_rhythm(visit: Visit, beats: Heartbeats, rng: Random) -> str:
    """Return one rhythm statement; a rate is counted to within a beat a minute."""
    rate = beats.rate + rng.gauss(0, 0.7)
    if visit.grade("AFIB") and rng.random() > MISSED:
        return "AFIB"
    return "SBRAD" if rate < 58 else "STACH" if rate > 100 else "SR"
