"""What a model may see of a report: nothing, who the patient is, all but its findings, or all."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import pandas as pd

from einthoven.language.lexicon import lexicon
from einthoven.language.normalise import normalise
from einthoven.language.reading import status_of
from einthoven.parts import hint

__all__ = ["View", "named", "seen"]

View = Literal["none", "context", "masked", "full"]

YES = {"true", "yes", "ja", "1", "1.0"}
NO = {"false", "no", "nein", "nej", "0", "0.0", ""}


def named(word: str) -> View:
    """Return the view of that name, or refuse it."""
    known: tuple[View, ...] = get_args(View)
    for view in known:
        if view == word:
            return view
    raise ValueError(f"No view {word!r} of a report. Known: {', '.join(known)}.{hint(word, known)}")


def seen(records: pd.DataFrame, view: View) -> tuple[str, ...]:
    """Return one normalised text for each record, "" where there is none to see.

    "none": nothing. "context": a sentence from the columns age (years), sex, height (cm), weight (kg) and
    pacemaker, as far as there are any; never from site, device, nurse or report. "masked": the words of the
    report that the lexicon does not know, with no mark where others stood: how many there were tells, too.
    "full": the report.
    """
    if view == "none":
        return ("",) * len(records)
    if view == "context":
        columns = [records[name] if name in records else [None] * len(records) for name in SAID]
        return tuple(_context(values) for values in zip(*columns, strict=True))
    if "report" not in records:
        raise ValueError(
            f'The view "{view}" needs reports; these records have no column report: take "none" or "context".'
        )
    texts = [_report(raw) for raw in records["report"]]
    return tuple(_left(text) if view == "masked" else text for text in texts)


def _left(text: str) -> str:
    """Return the words that the lexicon does not know."""
    return " ".join(word for word in lexicon().mask(text).split() if any(map(str.isalnum, word)))


def _report(raw: object) -> str:
    if not isinstance(raw, str):  # None, NaN, NA: nobody wrote one
        return ""
    text, status = status_of(raw)
    return text if status == "ok" else ""


def _context(values: tuple[Any, ...]) -> str:
    """Write the sentence of one patient; what is not known is not said."""
    parts = [say(value) for say, value in zip(SAID.values(), values, strict=True) if not pd.isna(value)]
    return normalise(", ".join(part for part in parts if part))


def _number(form: str) -> Callable[[Any], str]:
    def say(value: Any) -> str:
        return form.format(float(value))

    return say


def _pacemaker(value: Any) -> str:
    """Word a column that says yes or no, or, as PTB-XL's, something like "ja, pacemaker"."""
    said = str(value).strip().lower()
    if said in NO:
        return "without a pacemaker"
    return "with a pacemaker" if said in YES or said.startswith(("ja", "yes", "pace")) else ""


SAID: dict[str, Callable[[Any], str]] = {
    "age": _number("{:.0f} years old"),
    "sex": lambda value: str(value) if value in ("female", "male") else "",
    "height": _number("{:.0f} cm tall"),
    "weight": _number("{:.0f} kg"),
    "pacemaker": _pacemaker,
}
