"""From a record as a source reads it to its place in a store. Worker processes load this file.

So it leaves pandas, pyarrow, scipy and numba to those who need them.
"""

import math
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int16

from einthoven.data.quality import flags, railed
from einthoven.data.signal import arrange, resample
from einthoven.data.store import COLUMNS, GAP
from einthoven.ecg import LEADS, Record, Source

TOP = 32767  # counts
SEXES = {
    **dict.fromkeys(("female", "f", "woman", "w", "weiblich", "frau"), "female"),
    **dict.fromkeys(("male", "m", "man", "männlich", "mann"), "male"),
}
# What a damaged file raises in whoever reads it. A reason to leave out that one file, not to stop.
BROKEN = (MemoryError, ArithmeticError, zlib.error, struct.error)
MISSING = ("", "na", "n/a", "nan", "none", "null", "<na>")  # in a column of numbers

Row = dict[str, Any]


@dataclass(frozen=True)
class Form:
    """How the store holds a record."""

    hertz: float
    seconds: float
    microvolts: float
    chunk_bytes: int = 4 << 20
    shard_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 < value < math.inf:
                raise ValueError(f"An import needs {name} above 0, got {value:g}.")
        if self.samples < 1:
            raise ValueError(f"{self.seconds:g} s at {self.hertz:g} Hz hold no sample.")

    @property
    def samples(self) -> int:
        """Length of the time axis."""
        return round(self.hertz * self.seconds)

    @property
    def record_bytes(self) -> int:
        """Size of one record on disk."""
        return len(LEADS) * self.samples * 2

    @property
    def chunk(self) -> int:
        """Records that are read, kept and finished together."""
        return max(1, self.chunk_bytes // self.record_bytes)

    @property
    def shard(self) -> int:
        """Records in one file."""
        return max(1, self.shard_bytes // self.record_bytes)


class Chunk(NamedTuple):
    """What became of a range of records; `origins` says where each of `rows` comes from."""

    counts: Int16[np.ndarray, "kept 12 time"]
    rows: list[Row]
    origins: list[Row]  # index in the source, label
    rejected: list[Row]  # index, label, reason


def convert(source: Source, form: Form, start: int, stop: int) -> Chunk:
    """Read a range of records into the form of the store."""
    counts = np.zeros((stop - start, len(LEADS), form.samples), np.int16)
    rows: list[Row] = []
    origins: list[Row] = []
    rejected: list[Row] = []
    for index, record in enumerate(records(source, start, stop), start):
        origin = {"index": index, "label": text(source.label(index))}
        try:
            if isinstance(record, ValueError):
                raise record
            rows.append(place(record, form, counts[len(rows)]))
            origins.append(origin)
        except (ValueError, *BROKEN) as reason:
            counts[len(rows)] = 0
            why = reason if isinstance(reason, ValueError) else broken(reason)
            rejected.append(origin | {"reason": text(why)})
    return Chunk(counts[: len(rows)], rows, origins, rejected)


def records(source: Source, start: int, stop: int) -> Iterator[Record | ValueError]:
    """Read a range; a record that breaks its reader gives its reason, and the next ones are read."""
    while start < stop:
        try:
            for record in source.read_many(start, stop):
                yield record
                start += 1
            return
        except BROKEN as error:
            yield ValueError(broken(error))
            start += 1


def broken(error: BaseException) -> str:
    """Name an error by its type, which alone says what kind of damage it is, in one line."""
    kind = type(error)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    return f"{name}: {' '.join(str(error).split()) or 'no more is said'}"


def place(record: Record, form: Form, out: Int16[np.ndarray, "12 time"]) -> Row:
    """Write one record into its place of a chunk; return its line of the table."""
    row = tidy(record.row)
    if not record.record_id:
        raise ValueError("it has no record_id")
    if not 0 < record.hertz < math.inf:
        raise ValueError(f"its rate is {record.hertz:g} Hz")
    if not record.signal.size:
        raise ValueError("it holds no sample")
    ecg = arrange(record.signal, record.leads)
    if not ecg.signal.size:
        raise ValueError("it holds no sample that is a number")
    # A second more than is kept: the filter must not see the cut.
    some = ecg.signal[:, : math.ceil((form.seconds + 1) * record.hertz)]
    signal = resample(some, record.hertz, form.hertz)[:, : form.samples]
    measured = np.array([p and lead not in ecg.derived for lead, p in zip(LEADS, ecg.present, strict=True)])
    clipped = quantise(signal, form.microvolts, out[:, : signal.shape[1]])
    return {
        "record_id": text(record.record_id),
        "patient_id": text(row.pop("patient_id", None) or record.patient_id or record.record_id),
        "start": 0,
        "stop": signal.shape[1],
        **row,
        "absent": " ".join(lead for lead, here in zip(LEADS, ecg.present, strict=True) if not here),
        "derived": " ".join(ecg.derived),
        **flags(signal, ecg.present, measured)._asdict(),
        "clipped": clipped + railed(some[measured], record.hertz),
    }


def quantise(
    signal: Float[np.ndarray, "lead time"], microvolts: float, out: Int16[np.ndarray, "lead time"]
) -> int:
    """Round millivolts to whole counts, NaN to `GAP`; return how many did not fit."""
    counts = signal * np.float32(1000 / microvolts)
    np.rint(counts, out=counts)
    missing = np.isnan(counts) if np.isnan(counts.min()) else None  # a minimum with NaN is NaN
    if missing is not None:
        counts[missing] = 0
    clipped = 0
    if counts.min() < -TOP or counts.max() > TOP:
        clipped = int((np.abs(counts) > TOP).sum())
        np.clip(counts, -TOP, TOP, out=counts)
    out[...] = counts
    if missing is not None:
        out[missing] = GAP
    return clipped


def text(value: Any) -> str:
    """Return text that UTF-8 can hold, whatever the file held."""
    told = str(value)
    return told if told.isascii() else told.encode("utf-8", "replace").decode()


def tidy(row: Mapping[str, Any]) -> Row:
    """Bring what a source knows of a record into the store's terms; None is unknown.

    Sex becomes "female", "male" or, where a word says neither, None. An age outside 0 to 120 years is
    a slip and becomes None.
    """
    own = COLUMNS.keys() - {"age", "sex", "fold", "report", "patient_id"}
    for name in row:
        if name in own:
            raise ValueError(f"column {name!r} is one that the store itself writes: give it another name")
    out = {name: plain(value) for name, value in row.items()}
    age, sex, fold = number(out.get("age")), number(out.get("sex")), number(out.get("fold"))
    if isinstance(age, str):
        raise ValueError(f"age is a number of years, got {age!r}")
    if isinstance(sex, int | float):
        raise ValueError(f"sex is told in words (female, male), got {out['sex']!r}: which number is which?")
    if fold is not None and not (isinstance(fold, int | float) and 1 <= fold < 2**31 and fold == int(fold)):
        raise ValueError(f"fold is a whole number from 1 up, got {fold!r}")
    return out | {
        "age": float(age) if age is not None and 0 <= age <= 120 else None,
        "sex": SEXES.get(str(sex).strip().lower()),
        "fold": None if fold is None else int(fold),
        "report": text(out.get("report") or ""),
        "patient_id": None if out.get("patient_id") is None else text(out["patient_id"]),
    }


def number(value: Any) -> Any:
    """Read text as the number it is, a word for nothing as None; leave what is neither.

    >>> number("061,5"), number("NA"), number(">89")
    (61.5, None, '>89')
    """
    if not isinstance(value, str):
        return value
    word = value.strip().lower()
    if word in MISSING:
        return None
    if not re.fullmatch(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?", word, re.ASCII):
        return value
    return plain(float(word.replace(",", ".")))


def plain(value: Any) -> Any:
    """Turn a value of numpy or pandas into one of Python; what is missing (NaN, NA) into None."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        return [text(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int):
        return value if value is None or -(2**63) <= value < 2**63 else text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return None if type(value).__name__ in ("NAType", "NaTType") else text(value)
