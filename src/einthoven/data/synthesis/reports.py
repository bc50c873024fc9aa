"""Short reports for made-up ECGs, in German or English: what a reader saw, hedged or negated."""

from collections.abc import Mapping
from random import Random
from typing import NamedTuple

GERMAN, ENGLISH = 0.62, 0.30  # shares; the rest of the records has no report
LEFT_OUT = 0.05  # how often a statement does not make it into the text
HEDGED_BELOW = 0.45  # severity


class Wording(NamedTuple):
    """The phrases of one language."""

    statements: Mapping[str, tuple[str, ...]]
    axes: tuple[tuple[float, str], ...]  # up to this angle in degrees, the heart lies so
    hedges: tuple[str, ...]
    absent: tuple[str, ...]
    desk: tuple[str, ...]  # says nothing about the heart
    devices: tuple[str, ...]


WORDINGS = {
    "german": Wording(
        {
            "NORM": ("Normales EKG", "EKG im Normbereich", "Unauffälliger Befund"),
            "AMI": ("Anteriorer Infarkt, Alter unbestimmt", "R-Verlust in V1 bis V4, Vorderwandinfarkt"),
            "IMI": ("Inferiorer Infarkt, Alter unbestimmt", "Q-Zacken in II, III, aVF, Hinterwandinfarkt"),
            "ISC_": ("ST-Senkung, Ischämie", "ST-T-Veränderungen wie bei Ischämie"),
            "NST_": ("Unspezifische ST-T-Veränderungen", "T-Wellen flach, unspezifisch"),
            "CLBBB": ("Kompletter Linksschenkelblock", "Linksschenkelblock"),
            "CRBBB": ("Kompletter Rechtsschenkelblock", "Rechtsschenkelblock"),
            "1AVB": ("AV-Block I. Grades", "PQ-Zeit verlängert, AV-Block I"),
            "LVH": ("Linkshypertrophie", "Zeichen der linksventrikulären Hypertrophie"),
            "PVC": ("Ventrikuläre Extrasystolen", "Einzelne VES"),
            "SR": ("Sinusrhythmus", "Normofrequenter Sinusrhythmus"),
            "SBRAD": ("Sinusbradykardie", "Bradykarder Sinusrhythmus"),
            "STACH": ("Sinustachykardie", "Tachykarder Sinusrhythmus"),
            "AFIB": ("Vorhofflimmern", "Absolute Arrhythmie bei Vorhofflimmern"),
        },
        (
            (-30, "Überdrehter Linkstyp"),
            (30, "Linkstyp"),
            (60, "Indifferenztyp"),
            (90, "Steiltyp"),
            (180, "Rechtstyp"),
        ),
        ("{} möglich", "{} nicht auszuschließen", "Verdacht auf: {}"),
        ("Kein Hinweis auf {}", "Kein Anhalt für {}"),
        ("Geschrieben von MTA {} am Gerät {}", "Aufzeichnung {}, Gerät {}, 25 mm/s"),
        ("Saitengalvanometer S-1", "Leidenkart 12", "Dreieck 300"),
    ),
    "english": Wording(
        {
            "NORM": ("Normal ECG", "Within normal limits", "Unremarkable tracing"),
            "AMI": ("Anterior infarct, age undetermined", "Poor R progression, old anterior infarct"),
            "IMI": ("Inferior infarct, age undetermined", "Q waves in II, III and aVF, inferior infarct"),
            "ISC_": ("ST depression, ischaemia", "ST-T changes consistent with ischaemia"),
            "NST_": ("Non-specific ST-T changes", "T waves are flat, non-specific"),
            "CLBBB": ("Left bundle branch block", "Complete left bundle branch block"),
            "CRBBB": ("Right bundle branch block", "Complete right bundle branch block"),
            "1AVB": ("First degree AV block", "Prolonged PR interval, first degree AV block"),
            "LVH": ("Left ventricular hypertrophy", "Voltage criteria for LVH"),
            "PVC": ("Ventricular premature beats", "Occasional PVCs"),
            "SR": ("Sinus rhythm", "Regular sinus rhythm"),
            "SBRAD": ("Sinus bradycardia", "Slow sinus rhythm"),
            "STACH": ("Sinus tachycardia", "Fast sinus rhythm"),
            "AFIB": ("Atrial fibrillation", "Atrial fibrillation, irregular ventricular response"),
        },
        ((-30, "Left axis deviation"), (90, "Normal axis"), (180, "Right axis deviation")),
        ("Possible: {}", "{} cannot be excluded", "Probable: {}"),
        ("No sign of {}", "No evidence of {}"),
        ("Recorded by {} on a {}", "Technician {}, {}, 25 mm/s"),
        ("String galvanometer S-1", "Leidenkart 12", "Dreieck 300"),
    ),
}
ABSENT = {
    "german": {"MI": "Infarkt", "STTC": "Ischämie", "HYP": "Linkshypertrophie"},
    "english": {"MI": "infarction", "STTC": "ischaemia", "HYP": "hypertrophy"},
}


def write_report(statements: Mapping[str, float], superclasses: set[str], axis: float, rng: Random) -> str:
    """Word the statements (code to severity, 1 where none applies) of one record; "" where nobody wrote one.

    `axis` is the frontal QRS axis in degrees, -180 to 180.
    """
    draw = rng.random()
    if draw > GERMAN + ENGLISH:
        return ""
    language = "german" if draw < GERMAN else "english"
    words = WORDINGS[language]
    *findings, rhythm = statements
    lines = [rng.choice(words.statements[rhythm])]
    if rng.random() < 0.6:
        lines.append(next(name for top, name in words.axes if axis <= top))
    for code in findings:
        if rng.random() >= LEFT_OUT:
            phrase = rng.choice(words.statements[code])
            lines.append(
                rng.choice(words.hedges).format(phrase) if statements[code] < HEDGED_BELOW else phrase
            )
    missing = [name for superclass, name in ABSENT[language].items() if superclass not in superclasses]
    if missing and rng.random() < 0.15:
        lines.append(rng.choice(words.absent).format(rng.choice(missing)))
    if rng.random() < 0.7:
        lines.append(write_desk(words, rng))
    return " ".join(line if line.endswith(".") else f"{line}." for line in lines)


def write_desk(words: Wording, rng: Random) -> str:
    """Word who recorded an ECG and with what: it says nothing about the heart."""
    return rng.choice(words.desk).format(rng.choice("ABDEGHKLMNRSW") + ".", rng.choice(words.devices))


def write_context(rng: Random) -> str:
    """Word a line that depends on nothing but chance: what no label can be read off."""
    words = WORDINGS[rng.choice(sorted(WORDINGS))]
    return write_desk(words, rng) + "."
