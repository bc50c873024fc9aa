"""What surrounds the findings: how a report is written, and what is known of the patient."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from einthoven.data.task import numbers
from einthoven.language.reading import LONGEST, Report

LANGUAGES = ("de", "en", "sv", "unknown")
PROVENANCES = ("automatic", "human", "edited")
# A pacemaker, which view "context" tells, is none of them: it is a finding, and names the label PACE.
METADATA = ("age", "sex", "height", "weight")
SEXES = {"male": 1.0, "female": 0.0}


def style(reports: tuple[Report, ...]) -> Float[np.ndarray, "record measure"]:
    """Measure how reports are written, whatever they say."""
    once = {report: manner(report) for report in dict.fromkeys(reports)}
    return np.array([once[report] for report in reports], float).reshape(len(reports), -1)


def manner(report: Report) -> list[float]:
    """Measure one: language, machine or hand, length, statements, punctuation, capitals, digits."""
    raw = report.raw[:LONGEST]
    size = max(len(raw), 1)
    letters = max(sum(map(str.isalpha, raw)), 1)
    marks = sum(not (sign.isalnum() or sign.isspace()) for sign in raw)
    return [
        *(float(report.language == name) for name in LANGUAGES),
        *(float(report.provenance == name) for name in PROVENANCES),
        float(len(report.raw)),
        float(len(raw.split())),
        float(len(report.statements)),
        float(marks),
        marks / size,
        sum(map(str.isupper, raw)) / letters,
        sum(map(str.isdigit, raw)) / size,
    ]


def metadata(records: pd.DataFrame) -> Float[np.ndarray, "record measure"]:
    """Return age, sex, height and weight; NaN where unknown, and everywhere without such a column."""
    table = np.full((len(records), len(METADATA)), np.nan)
    for place, name in enumerate(METADATA):
        if name in records:
            table[:, place] = numbers(records[name].map(SEXES) if name == "sex" else records[name])
    return table


def metadata_named(records: pd.DataFrame) -> str:
    """Name them, for people."""
    return ", ".join(name for name in METADATA if name in records) or "nothing"
