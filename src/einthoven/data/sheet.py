"""The ECG of one file of text: a line a sample, a column a lead, named by its first line or by the caller."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from einthoven.data.convert import BROKEN, broken, number
from einthoven.data.signal import places
from einthoven.data.tables import proves_comma, separator_of
from einthoven.data.wfdb16 import decoded, millivolts
from einthoven.ecg import lead_name

TIMES = {"time": "s", "t": "s", "seconds": "s", "sec": "s", "s": "s", "milliseconds": "ms", "ms": "ms"}
SECONDS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}
ALONE = "\x1f"  # what separates the cells of a file of one column: no character that stands in one
RATES = (20.0, 50_000.0)  # Hz between which a column of times is believed


class Quoting(ValueError):
    """What is wrong with a file, in its own words; `bare` says so without them."""

    def __init__(self, bare: str, quoting: str):
        super().__init__(quoting)
        self.bare = bare


@dataclass(frozen=True)
class Sheet:
    """The ECG of one file, in its own unit."""

    ecg: Float[np.ndarray, "lead time"]
    leads: tuple[str, ...]
    hertz: float
    factor: float | None  # millivolts of one unit, where the file says so
    doubtful: bool  # may all its commas be those of thousands? They were read as decimal ones


@dataclass(frozen=True)
class Head:
    """What the first line says of each column."""

    names: tuple[str, ...]
    units: tuple[str, ...]  # "" = not said
    named: bool  # or is the first line a sample?


def read_sheet(
    path: Path,
    leads: tuple[str, ...],
    hertz: float | None,
    *,
    index: bool = False,
    usual: float | None = None,
    quote: bool = True,
) -> Sheet:
    """Read one file, or raise ValueError with its name and what is wrong.

    Args:
        path: The file.
        leads: The names of its columns where the first line names no lead.
        hertz: Its rate (Hz) where that was said; a column of times has to agree.
        index: Does a column that counts the samples stand before the leads?
        usual: The rate (Hz) of a file without times where none was said.
        quote: May what is said of a file quote it?
    """
    try:
        return parse(path, leads, hertz, index=index, usual=usual)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        why = error.bare if isinstance(error, Quoting) and not quote else str(error)
        raise ValueError(f"{path}: {' '.join(why.split())}.") from error
    except BROKEN as error:
        raise ValueError(f"{path}: cannot be read ({broken(error)}).") from error


def parse(
    path: Path, leads: tuple[str, ...], hertz: float | None, *, index: bool, usual: float | None
) -> Sheet:
    """Read one file, or raise ValueError with what is wrong."""
    lines = first_lines(path)
    if "\0" in lines[0]:
        raise ValueError("holds binary data, not a table of text")
    told = lines[0].lower().startswith("sep=")  # what Excel writes for itself
    separator = lines[0][4:5] or "," if told else separator_of(lines[0], decimals=True)
    lines = lines[told:] or [""]
    first = [cell.strip() for cell in next(csv.reader(lines[:1], delimiter=separator), [])]
    head = head_of(first, leads, index)
    found = places(head.names)
    factors = {named_factor(head.units[place]) for place in found.values()}
    if len(factors) > 1:
        raise ValueError("gives its leads in different units")
    clock = next((place for place, name in enumerate(head.names) if name.lower() in TIMES), None)
    if clock is None and index and 0 not in found.values():
        clock = 0
    wanted = list(found.values()) if clock is None else [*found.values(), clock]
    separator = separator if len(first) > 1 else ALONE
    samples = lines[head.named :]
    comma = separator != "," and any("," in line for line in samples)
    how = {"sep": separator, "decimal": "," if comma else ".", "skiprows": told + head.named}
    values = read_numbers(path, wanted, first, **how)
    rate = None if clock is None else timed(values[-1], head.names[clock], head.units[clock])
    doubtful = comma and not proves_comma(
        cell.strip(' "') for line in samples for cell in line.split(separator)
    )
    hertz = agreed(rate, hertz, usual)
    return Sheet(values[: len(found)], tuple(found), hertz, factors.pop(), doubtful)


def first_lines(path: Path) -> list[str]:
    """Return the whole lines at the beginning of a file, at least one."""
    with path.open("rb") as file:
        start = file.read(2**18)
    whole = start[: start.rfind(b"\n") + 1] or start
    return decoded(whole).lstrip("\ufeff").splitlines() or [""]


def head_of(first: list[str], leads: tuple[str, ...], index: bool) -> Head:
    """Make sense of the first line, or refuse to guess."""
    names, units = zip(*map(split_unit, first), strict=True) if first else ((), ())
    if any(map(lead_name, names)):
        return Head(names, units, True)
    if not leads:
        what = "its first line names no ECG lead"
        remedy = "; name them there, or say leads= where all such files have one order"
        raise Quoting(what + remedy, f"{what}: {', '.join(first)[:100] or 'it is empty'}")
    if len(first) != index + len(leads):
        beside = " beside an index" if index else ""
        raise ValueError(f"has {len(first)} columns where `leads` names {len(leads)}{beside}")
    if index and nameless(first):
        return Head((names[0], *leads), units, True)
    return Head(("",) * index + leads, ("",) * len(first), False)


def nameless(first: list[str]) -> bool:
    """Tell a first line that names columns, but no leads, from a sample, which has a number for its index."""
    values = [number(cell) for cell in first]
    if isinstance(values[0], float):
        return False
    counted = values[1:] in (list(range(len(first) - 1)), list(range(1, len(first))))
    if not counted and (any(isinstance(value, float) for value in values) or not any(first[1:])):
        raise ValueError("has a first line that is neither a sample nor names")
    words = {word for cell in first for word in re.split(r"[^a-zµμ\d]+", split_unit(cell)[0].lower())}
    if any(lead_name(word) or millivolts(word) for word in words):
        raise ValueError("names leads or units in its first line, but not in the form I or I (mV)")
    return True


def split_unit(cell: str) -> tuple[str, str]:
    """Split `II (uV)` or `time [ms]`.

    >>> split_unit("II (uV)"), split_unit("V1")
    (('II', 'uV'), ('V1', ''))
    """
    match = re.fullmatch(r"(.*?)\s*[(\[]\s*(\S+?)\s*[)\]]", cell)
    return (match[1], match[2]) if match else (cell, "")


def named_factor(unit: str) -> float | None:
    """Return the millivolts of a unit beside a lead's name, None where there is none."""
    if unit and millivolts(unit) is None:
        what = "which is no unit of voltage"
        raise Quoting(f"gives a lead in a unit {what}", f"gives a lead in {unit!r}, {what}")
    return millivolts(unit)


def read_numbers(
    path: Path, wanted: list[int], names: list[str], **how: Any
) -> Float[np.ndarray, "column time"]:
    """Read columns as numbers, an empty cell as NaN; `names` are for what is said of a bad cell."""
    import pandas as pd

    # In a file of one column an empty line is a lost sample: without it, all that follow would shift.
    if len(names) == 1:
        how |= {"skip_blank_lines": False, "names": [0], "index_col": False}
    how |= {"header": None, "usecols": wanted, "encoding_errors": "replace", "low_memory": False}
    table = pd.read_csv(path, **how)
    table = table[: int(table.notna().any(axis=1).to_numpy().nonzero()[0].max(initial=-1)) + 1]
    columns = []
    for place in wanted:
        numbers = pd.to_numeric(table[place], errors="coerce").to_numpy(float)
        bad = np.isnan(numbers) & table[place].notna().to_numpy()
        if bad.any():
            cells = table[place].astype(str)  # where one is bad, pandas leaves a decimal comma in the others
            line = next((n for n in bad.nonzero()[0] if isinstance(number(cells.iloc[n]), str)), bad.argmax())
            cell = cells.iloc[line][:40]
            raise Quoting(
                f"sample {line + 1} of column {place + 1} is no number; mend the file",
                f"row {line + 1} of column {names[place]}: {cell!r} is no number",
            )
        columns.append(numbers)
    return np.stack(columns)


def timed(column: Float[np.ndarray, " time"], name: str, unit: str) -> float | None:
    """Return the rate (Hz) that a column of times gives, or None where it only counts."""
    if name.lower() not in TIMES:
        if (np.diff(column) != 1).any():
            what = "has a first column that does not count 1, 2, 3: samples are missing, or it holds times"
            raise ValueError(f"{what} and is to be called time [s] or time [ms]")
        return None
    unit = (unit or TIMES[name.lower()]).lower()
    if unit not in SECONDS:
        what = "has a column of times"
        raise Quoting(f"{what} that is not in s, ms or us", f"{what} in {unit!r}, not in s, ms or us")
    return rate_of(column * SECONDS[unit])


def rate_of(seconds: Float[np.ndarray, " time"]) -> float:
    """Return the rate (Hz) of evenly spaced times, to the nearest whole number if that is within 0.1 %."""
    if len(seconds) < 2 or not np.isfinite(seconds).all():
        raise ValueError("has gaps in its column of times")
    step = (seconds[-1] - seconds[0]) / (len(seconds) - 1)
    steps = np.diff(seconds)
    if steps.min() <= 0 or steps.max() > 1.75 * step:  # times may be rounded, but no sample may be left out
        raise ValueError("has a column of times that are not evenly spaced")
    rate = float(1 / step)
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"has a column of times that gives {rate:g} Hz; is it in seconds?")
    return float(round(rate)) if abs(rate - round(rate)) < 1e-3 * rate else rate


def agreed(found: float | None, said: float | None, usual: float | None) -> float:
    """Return the rate that the file and the user agree on."""
    if found and said and abs(found - said) > 0.01 * said:
        raise ValueError(f"has a column of times that gives {found:g} Hz, not hertz={said:g}")
    if rate := said or found or usual:
        return float(rate)
    raise ValueError("has no column of times: say its rate with hertz=")
