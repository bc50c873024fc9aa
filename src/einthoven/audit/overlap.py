"""What repeats, and what gives itself away: texts told twice, codes in plain sight, drift between splits."""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from einthoven.audit.learn import shares
from einthoven.audit.material import CHOOSE, FIT, SCORE, Material
from einthoven.audit.style import LANGUAGES, PROVENANCES
from einthoven.data.split import NAMES
from einthoven.evaluate.figures import Number
from einthoven.language.lexicon import lexicon
from einthoven.language.reading import LONGEST

EDITED = re.compile(r"(?<!\w)edit ?:", re.IGNORECASE)


def verbatim(material: Material, whole: Material) -> dict[str, Any]:
    """Count the texts of validation and test that stand word for word in train, and those told of several.

    `whole` is what `material` was drawn from: a text whose like was not drawn stands in train all the same.
    """
    told_of, worded = whole.take(whole.worded), material.worded
    taught = {text for text, part in zip(told_of.texts, told_of.part, strict=True) if part == FIT}
    again = np.array([text in taught for text in material.texts], bool)
    usual = {report.text: says_normal(report.text) for report in dict.fromkeys(material.reports)}
    normal = np.array([usual[report.text] for report in material.reports], bool)
    told: dict[str, Any] = {}
    for number in (CHOOSE, SCORE):
        here = (material.part == number) & worded
        told[NAMES[number]] = {"all": share(again[here]), "not_normal": share(again[here & ~normal])}
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for text, who in zip(told_of.texts, told_of.patient, strict=True):
        owners[text].add(who)
    common = np.array([len(owners[text]) > 1 for text in told_of.texts], bool)
    told |= {"texts": len(told_of.texts), "unique": len(owners), "normal": share(normal[worded])}
    return told | {"of_several_patients": share(common)}


def says_normal(text: str) -> bool:
    """Say whether a report calls the ECG normal, with or without a "but"."""
    return any("NORM" in found.codes and found.polarity == "present" for found in lexicon().find(text))


def share(flags: Any) -> float | None:
    """Return the share that is true; None of nothing."""
    return float(np.mean(flags)) if len(flags) else None


def mentions(material: Material, codes: Iterable[str]) -> dict[str, Any]:
    """Count raw reports that name a label as a code with its likelihood ("LVH 50"), or end in an "Edit:".

    Of those without a text none is counted, of a long one both ends are read.
    """
    raws = [ends(raw) for raw in material.take(material.worded).records["report"]]
    pattern = code_pattern(codes)
    coded = np.array([bool(pattern and pattern.search(raw)) for raw in raws], bool)
    edited = np.array([bool(EDITED.search(raw)) for raw in raws], bool)
    return {"coded": share(coded), "edited": share(edited), "either": share(coded | edited)}


def ends(raw: str) -> str:
    """Return the first and the last LONGEST characters of a report."""
    return raw if len(raw) <= 2 * LONGEST else f"{raw[:LONGEST]} | {raw[-LONGEST:]}"


def code_pattern(codes: Iterable[str]) -> re.Pattern[str] | None:
    """Find any of these codes, in capitals as they are, with a number from 0 to 100 behind it.

    >>> pattern = code_pattern(["LVH", "NORM", "ab"])
    >>> [bool(pattern.search(text)) for text in ("x (LVH 50)", "NORM: 100", "lvh 50", "LVH 120", "ab 5")]
    [True, True, False, False, False]
    """
    plain = sorted({code for code in codes if len(code) > 1 and code.isupper()})
    if not plain:
        return None
    one = "|".join(map(re.escape, plain))
    return re.compile(rf"(?<!\w)(?:{one})(?!\w)[\s:=]{{1,3}}(?:100|\d\d?)(?!\d| ?/)")


def shift(material: Material) -> dict[str, dict[str, Number]]:
    """Return the share of each split that has no text, and of those with one each provenance and language."""
    worded = material.take(material.worded)
    reports = [report for report, has in zip(material.reports, material.worded, strict=True) if has]
    told = {"no text": shares((~material.worded).astype(float), material, NAMES)}
    for name in PROVENANCES:
        told[name] = shares(flagged(r.provenance == name for r in reports), worded, NAMES)
    for name in LANGUAGES:
        told[name] = shares(flagged(r.language == name for r in reports), worded, NAMES)
    return told


def flagged(flags: Iterable[bool]) -> Any:
    """Turn answers into zeros and ones."""
    return np.fromiter(flags, float)
