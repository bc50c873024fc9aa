"""The ECGs that a network drew, over what was recorded: for runs that learned by reconstruction."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from einthoven.ecg import LEADS
from einthoven.report import draw, words
from einthoven.report.cases import person
from einthoven.report.folder import Run

BY_SHAPE = ("mae", "st_mem")  # methods that aim at normalised pieces


def drawings(run: Run) -> dict[str, Any]:
    """Draw the ECGs and say what is seen; nothing for a run that draws none."""
    told = run.results.get("drawn", [])
    if not told:
        return {}
    partly = any(np.isnan(run.drawn[n])[np.isfinite(ecg)].any() for n, ecg in enumerate(run.examples))
    method = run.options.get("method", {}).get("name")
    return {
        "partly": partly,
        "by_shape": method in BY_SHAPE,
        "by_code": method == "vqvae",
        "cases": [drawing(run, number, example) for number, example in enumerate(told)],
    }


def drawing(run: Run, number: int, example: Mapping[str, Any]) -> dict[str, Any]:
    """Draw one ECG twice, and say how far apart the lines are."""
    ecg, hertz, start = run.examples[number], float(example["hertz"]), float(example["start"])
    who, leads = person(example), tuple(example["leads"])
    title = f"Record {example['record_id']}" + (f" · {who}" if who else "")
    title += f" · {ecg.shape[1] / hertz:g} s" + (f", {start:g} s into the record" if start else "")
    stamp = "MADE-UP ECG" if run.store.get("synthetic") else ""
    band = run.options.get("signal", {}).get("band")
    note = f"{band[0]:g}–{band[1]:g} Hz, as the network saw it" if band else "no filter"
    said = {"title": title, "stamp": stamp, "note": note, "lacking": "not read"}
    picture = draw.ecg_svg(ecg, hertz, leads=leads, over=run.drawn[number], **said)
    return {"title": title, "sentence": sentence(example), "picture": Markup(picture)}


def sentence(example: Mapping[str, Any]) -> str:
    """Tell the error, beside that of a level line."""
    rmse, level = (math.nan if example.get(k) is None else float(example[k]) for k in ("rmse", "level"))
    if not math.isfinite(rmse):
        return "Nothing was drawn here."
    read = (
        ""
        if len(example["leads"]) == len(LEADS)
        else f" The network reads {', '.join(example['leads'])} only."
    )
    return (
        f"RMSE {words.fixed(rmse, 3)} mV over what is drawn; a level line in each piece, at its true mean, "
        f"would miss by {words.fixed(level, 3)} mV.{read}"
    )
