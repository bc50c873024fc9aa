"""The ECGs of the page: the surest hits and the worst misses, drawn, with their truth and scores."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from einthoven.ecg import LEADS
from einthoven.report import draw, forest, words
from einthoven.report.folder import Run

MOST = 12  # ECGs on a page
SCORES = 6  # labels shown beside an ECG, besides those that are true
SEX = {"female": "woman", "male": "man"}
HEADINGS = {"surest hit": "Surest hits", "worst miss": "Worst misses"}


def cases(run: Run) -> list[dict[str, Any]]:
    """Group the examples by why they were chosen."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for number, example in enumerate(run.results.get("examples", [])[:MOST]):
        groups.setdefault(str(example["why"]), []).append(case(run, number, example))
    return [{"title": HEADINGS.get(why, why), "cases": members} for why, members in groups.items()]


def case(run: Run, number: int, example: Mapping[str, Any]) -> dict[str, Any]:
    """Draw one ECG and tell what the network said of it."""
    signal = run.examples[number][:, int(example.get("start") or 0) : example.get("stop")].copy()
    who = person(example)
    title = f"Record {example['record_id']}" + (f" · {who}" if who else "")
    leads = tuple(example.get("leads") or run.store.get("leads") or LEADS)
    stamp = "MADE-UP ECG" if run.store.get("synthetic") else ""
    picture = ""
    if len(leads) == len(signal):
        absent = str(example.get("absent") or "").split()
        signal[[lead in absent for lead in leads]] = np.nan  # stored as 0, but never recorded
        hertz = float(example["hertz"])
        picture = draw.ecg_svg(signal, hertz, title=title, stamp=stamp, note=band(run), leads=leads)
    sentence = said_of_number(run, example) if run.regression else said_of_label(run, example)
    return {"title": title, "sentence": sentence, "scores": scores(run, example), "picture": Markup(picture)}


def person(example: Mapping[str, Any]) -> str:
    """Say who the ECG is of: sex and age, where known."""
    age = example.get("age")
    years = f"{float(age):.0f} years" if age is not None and math.isfinite(float(age)) else ""
    return ", ".join(word for word in (SEX.get(str(example.get("sex")), ""), years) if word)


def band(run: Run) -> str:
    """Say what was filtered before the network, which is not what is drawn."""
    limits = run.options.get("signal", {}).get("band")
    return f"drawn as stored, the network saw {limits[0]:g}–{limits[1]:g} Hz" if limits else "no filter"


def said_of_label(run: Run, example: Mapping[str, Any]) -> str:
    """Tell a hit from a miss and from a false alarm: by the threshold, not by why it was chosen."""
    label = str(example.get("label", ""))
    score = float(example.get("score", {}).get(label, math.nan))
    true = [str(name) for name in example.get("truth", [])]
    bar = run.threshold(label)
    exclusive = run.results["task"]["kind"] == "multiclass"
    against = f" (threshold {words.fixed(bar, 2)})" if math.isfinite(bar) and not exclusive else ""
    carried = f"The record is labelled {', '.join(true)}." if true else "The record has none of the labels."
    sure = "hit" in str(example["why"])
    told = {
        (True, True): "Rightly sure of" if sure else "Rightly called",
        (True, False): "Missed",
        (False, True): "False alarm for",
        (False, False): "Rightly sure that there is no" if sure else "Rightly not called",
    }[label in true, called(run, example, label)]
    told += f" {label}"
    return f"{told}: scored {words.fixed(score, 2)}{against}. {carried}"


def called(run: Run, example: Mapping[str, Any], label: str) -> bool:
    """Does the network call the label? Of classes that exclude each other, it calls the highest."""
    table = {name: float(score) for name, score in example.get("score", {}).items()}
    if run.results["task"]["kind"] == "multiclass":
        return bool(table) and max(table, key=lambda name: table[name]) == label
    bar = run.threshold(label)
    return table.get(label, math.nan) >= (bar if math.isfinite(bar) else 0.5)


def said_of_number(run: Run, example: Mapping[str, Any]) -> str:
    """Tell predicted from measured."""
    unit = str(run.results["task"].get("unit") or "")
    label = str(example.get("label") or run.labels[0])
    score, truth = example.get("score"), example.get("truth")
    predicted = score.get(label) if isinstance(score, Mapping) else score
    measured = (
        truth.get(label)
        if isinstance(truth, Mapping)
        else truth[0]
        if isinstance(truth, list) and truth
        else truth
    )
    said = [
        f"{what} {_number(value)} {unit}".rstrip()
        for what, value in (("predicted", predicted), ("measured", measured))
    ]
    return f"{label}: {', '.join(said)}."


def _number(value: object) -> str:
    """Show a number with three digits; text as it is."""
    try:
        number = float(str(value))
    except ValueError:
        return str(value)
    return words.fixed(number, words.places_for(number))


def scores(run: Run, example: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the true labels and the highest scores, as bars with their thresholds."""
    table = example.get("score")
    if run.regression or not isinstance(table, Mapping):
        return []
    true = {str(name) for name in example.get("truth", [])}
    by_score = sorted(table, key=lambda label: -float(table[label]))
    kept = [label for place, label in enumerate(by_score) if place < SCORES or label in true]
    return [
        {
            "label": label,
            "true": label in true,
            "value": words.fixed(float(table[label]), 2),
            "bar": Markup(forest.score_bar(float(table[label]), run.threshold(label))),
        }
        for label in kept
    ]
