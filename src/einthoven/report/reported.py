"""What the text of a report adds to the ECG, row by row, and whether it gives the answer away."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from einthoven.report import forest, plots, words
from einthoven.report.folder import Figure, Run, figure

SIDES = ("ecg", "text", "both")


def reported(run: Run) -> dict[str, Any]:
    """Prepare the section; nothing for a run whose network reads no report."""
    told = run.results.get("reports")
    if not told:
        return {}
    lines = {row["name"]: figure(row[run.main]) for row in told["answers"]}
    places = words.places_for(next(iter(lines.values())).value) if run.regression else 3
    over = str(told["gain"]["over"])
    axis = forest.axis_for(list(lines.values()), bounded=not run.regression)
    rows = [
        row_of(row["name"], row["what"], lines[row["name"]], places)
        | {
            "own": row["name"] == "both",
            "whisker": whisker(lines[row["name"]], axis, lines[over], row["name"] == "both"),
        }
        for row in told["answers"]
    ]
    return {
        "view": told["view"],
        "leaky": told["leaky"],
        "judged": told.get("judged", True),
        "why": told["why"],
        "axis": Markup(forest.axis_strip(axis)),
        "rows": rows,
        "over": over,
        "gain": words.gained(figure(told["gain"]), places),
        "groups": [group(one, places) for one in told["groups"]],
        "missing": missing(run, told["missing"], places),
    }


def row_of(name: str, what: str, value: Figure, places: int) -> dict[str, Any]:
    """Write one row."""
    return {
        "name": name,
        "what": what,
        "value": words.fixed(value.value, places),
        "span": words.span(value, places),
    }


def whisker(value: Figure, axis: tuple[float, float], reference: Figure, own: bool) -> Markup:
    """Draw one row."""
    return Markup(forest.whisker(value, axis, reference=reference.value, own=own))


def group(one: Mapping[str, Any], places: int) -> dict[str, Any]:
    """Write the figures of one group of records."""
    cells = [
        (words.fixed(f.value, places), words.span(f, places)) for f in map(figure, (one[k] for k in SIDES))
    ]
    gain = figure(one["gain"])
    return {
        "name": one["name"],
        "records": f"{one['records']:,}",
        "cells": [*cells, words.gained(gain, places) if gain.known else ("–", "")],
    }


def missing(run: Run, curve: Sequence[Mapping[str, Any]], places: int) -> dict[str, Any]:
    """Draw the score while more and more reports are missing."""
    found = [figure(point[run.main]).value for point in curve]
    if not all(map(math.isfinite, found)):
        return {}
    shares = [100 * float(point["share"]) for point in curve]
    told = ", ".join(f"{words.fixed(v, places)} at {s:.0f} %" for s, v in zip(shares, found, strict=True))
    names = ("% of the reports are missing", "")
    label = f"Score by the share of missing reports: {told}"
    chart = plots.learning_chart(shares, {"both": found}, names=names, label=label)
    return {"chart": Markup(chart), "told": told}
