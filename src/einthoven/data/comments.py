"""What the comments of a WFDB header say of the patient."""

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

from einthoven.data.convert import SEXES

STATEMENTS = ("dx", "diagnosis", "diagnoses")
PATIENT = ("patient", "patient_id", "subject", "subject_id")
KNOWN = ("age", "sex", "gender", *STATEMENTS, *PATIENT)
NOTHING = ("", "none", "(none)", "unknown", "nan")


def row_of(comments: Iterable[str]) -> tuple[str, dict[str, Any]]:
    """Return the patient ("" = not named) and what else the comments of a header say.

    >>> row_of(["<age>: 51", "<sex>: F", "<diagnoses>:", "Rhythm: Sinus bradycardia."])
    ('', {'age': 51.0, 'sex': 'female', 'statements': ['Rhythm: Sinus bradycardia']})
    """
    said: dict[str, str] = {}
    statements: list[str] = []
    listing = False  # are we below a heading without a value?
    for line in comments:
        pairs = [(key, value) for key, value in keyed(line) if key in KNOWN]
        for key, value in pairs:
            listing = key in STATEMENTS and not value
            if key in STATEMENTS:
                statements += value.split(",")
            else:
                said[key] = value
        if listing and not pairs:
            statements.append(line)
    clean = {statement.strip().rstrip(".").strip() for statement in statements}
    patient = next((said[key] for key in PATIENT if key in said), "")
    row = {
        "age": years(said.get("age", "")),
        "sex": sex(said.get("sex", said.get("gender", ""))),
        "statements": sorted(text for text in clean if text.lower() not in NOTHING),
    }
    return patient, row


def keyed(line: str) -> Iterator[tuple[str, str]]:
    """Split a comment into keys and values: `Age: 63`, or `<age>: 63 <sex>: F`."""
    pairs = re.findall(r"<([^<>]+)>\s*:?\s*([^<]*)", line) or [line.partition(":")[::2]]
    for key, value in pairs:
        yield key.strip().lower().replace(" ", "_"), value.strip()


def years(text: str) -> float:
    """Read an age in years; NaN where there is none, or one in months or days."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:y|yrs?|years?|years old|j|jahre?)?\.?", text.strip().lower())
    return float(match[1]) if match else math.nan


def sex(text: str) -> str | None:
    """Read `F`, `Female`, `m`, `weiblich` ...; None where it is not said."""
    return SEXES.get(text.strip(" .").lower())
