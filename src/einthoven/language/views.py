"""What a model may see of a report: nothing, who the patient is, all but its findings, or all."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isfinite
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from einthoven.language.lexicon import lexicon
from einthoven.language.normalise import normalise
from einthoven.language.reading import status_of
from einthoven.language.surface import Forms
from einthoven.parts import hint

__all__ = ["View", "labels_of", "named", "seen"]

View = Literal["none", "context", "masked", "full"]

WORD = re.compile(r"[^\W_]+|[^\s,*[\]-]")  # of a label: what means something in a form is left out
YES = {"true", "yes", "ja", "1", "1.0"}
LISTS = (list, tuple, np.ndarray)
NO = {"false", "no", "nein", "nej", "0", "0.0"}


def named(word: str) -> View:
    """Return the view of that name, or refuse it."""
    known: tuple[View, ...] = get_args(View)
    for view in known:
        if view == word:
            return view
    raise ValueError(f"No view {word!r} of a report. Known: {', '.join(known)}.{hint(word, known)}")


def seen(records: pd.DataFrame, view: View, hidden: Sequence[str] = ()) -> tuple[str, ...]:
    """Return one normalised text for each record, "" where there is none to see.

    "none": nothing. "context": a sentence from the columns age (years), sex, height (cm), weight (kg) and
    pacemaker, as far as there are any; never from site, device, nurse or report. "masked": the words of the
    report that the lexicon does not know and that are no label of a task, nor `hidden`, with no mark where
    others stood: how many there were tells, too. "full": the report.
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
    raw = [report if isinstance(report, str) else "" for report in records["report"]]  # None, NaN, NA: none
    if view == "full":
        return _each(raw, _report)
    labels: Forms[str] = Forms()
    for label in _worded({*labels_of(records), *hidden}):
        labels.add(label, label)
    return _each(raw, lambda report: _left(_report(report), labels))


def _each(raw: Sequence[str], read: Callable[[str], str]) -> tuple[str, ...]:
    """Read every report, equal ones once."""
    known = {report: read(report) for report in set(raw)}
    return tuple(known[report] for report in raw)


def labels_of(records: pd.DataFrame) -> set[str]:
    """Return the labels of all tasks of a store: what stands in the columns that hold lists."""
    columns = ([value for value in records[name] if isinstance(value, LISTS)] for name in records)
    return {label for lists in columns for some in lists for label in some if isinstance(label, str)}


def _worded(labels: Iterable[str]) -> Iterator[str]:
    """Yield labels, masked, in words."""
    for label in labels:
        words = " ".join(WORD.findall(lexicon().mask(label)))
        if any(map(str.isalnum, words)):
            yield words


def _left(text: str, labels: Forms[str]) -> str:
    """Return the words that neither the lexicon nor the tasks know."""
    text, parts, at = lexicon().mask(text), [], 0
    for match in labels.find(text):
        parts.append(text[at : match.start])
        at = match.stop
    words = " ".join([*parts, text[at:]]).split()
    return " ".join(word for word in words if any(map(str.isalnum, word)))


def _report(raw: str) -> str:
    text, status = status_of(raw)
    return text if status == "ok" else ""


def _context(values: tuple[Any, ...]) -> str:
    """Write the sentence of one patient; what is not known is not said."""
    parts = [say(value) for say, value in zip(SAID.values(), values, strict=True) if not pd.isna(value)]
    return normalise(", ".join(part for part in parts if part))


def _number(form: str) -> Callable[[Any], str]:
    """Word a column of numbers; what is none ("180 cm"), or cannot be, is not known."""

    def say(value: Any) -> str:
        try:
            number = float(value)
        except (TypeError, ValueError):
            return ""
        return form.format(number) if isfinite(number) and number > 0 else ""

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
