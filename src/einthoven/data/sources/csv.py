"""ECGs in CSV files, one file each, a column a lead."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from einthoven.data.convert import BROKEN, broken
from einthoven.data.signal import places
from einthoven.data.tables import PATHS, Table, guess, lead_list, separator_of, spread, unit_factor
from einthoven.data.wfdb16 import decoded, millivolts
from einthoven.ecg import Record, Source, lead_name

__all__ = ["CSV"]

TIMES = {"time": "s", "t": "s", "seconds": "s", "sec": "s", "s": "s", "milliseconds": "ms", "ms": "ms"}
SECONDS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}
ALONE = "\x1f"  # what separates the cells of a file of one column: no character that stands in one
RATES = (20.0, 50_000.0)  # Hz between which a column of times is believed


class CSV(Source):
    """Reads every .csv and .tsv file in or below `path`, or the files that `table` lists, or one file.

    The first line names the leads: `II`, `Lead II`, `II (uV)`. A column of times gives the rate,
    otherwise `hertz` does; other columns are left out. Files without such a line need `leads`.
    `units` is "mV", "uV", "V", the millivolts of one unit, or "auto": what stands beside the leads'
    names or else the amplitude of the first files decides, and is refused where it leaves a doubt.
    `table` is a CSV file with a column `path` and whatever is known of each record: record_id,
    patient_id, age, sex, fold, report and any other column.
    """

    def __init__(
        self,
        path: Path,
        *,
        hertz: float | None = None,
        units: str | float = "auto",
        leads: tuple[str, ...] | str = (),
        table: str = "",
    ):
        path = Path(path)
        self.hertz, self.leads = hertz, lead_list(leads)
        self.path = path if path.is_dir() else path.parent
        self.table = Table.beside(self.path, table) if table else None
        self.stamp = self.table.stamp if self.table else ""  # an import tells tables apart by it
        if self.table:
            self.files = tuple(name.replace("\\", "/") for name in self.table.column(PATHS))
        elif path.is_dir():
            found = [file for file in path.rglob("*") if file.suffix.lower() in (".csv", ".tsv")]
            self.files = tuple(sorted(file.relative_to(path).as_posix() for file in found))
        else:
            self.files = (path.name,)
        if not self.files:
            raise ValueError(f"{path} holds no .csv file.")
        self.auto = units == "auto"
        self.factor = self.decide() if self.auto else unit_factor(units)
        self.title = f"CSV records of {path.resolve().name}"

    def decide(self) -> float | None:
        """Return the millivolts of one unit of all files that do not say; one quiet file does not count."""
        sheets: list[Sheet] = []
        reasons: list[ValueError] = []
        for index in spread(len(self)):
            try:
                sheets.append(self.sheet(index))
            except ValueError as reason:
                reasons.append(reason)
        if not sheets:
            raise reasons[0]
        bare = [sheet.ecg for sheet in sheets if sheet.factor is None]
        return guess(bare, self.path) if bare else None

    def __len__(self) -> int:
        return len(self.files)

    def label(self, index: int) -> str:
        """Name a record by its file."""
        return self.files[index]

    def sheet(self, index: int) -> "Sheet":
        """Read the numbers of one file."""
        path = self.path / self.files[index]
        try:
            return read_sheet(path, self.leads, self.hertz)
        except OSError as error:
            raise ValueError(f"{path}: cannot be read ({error.strerror}).") from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}.") from error
        except BROKEN as error:
            raise ValueError(f"{path}: cannot be read ({broken(error)}).") from error

    def read(self, index: int) -> Record:
        """Read one record; without a table its id is its path, and it is its own patient."""
        sheet = self.sheet(index)
        factor = self.factor if sheet.factor is None else sheet.factor
        if factor is None or not (self.auto or factor == self.factor):
            said = "no unit, unlike others" if factor is None else "another unit than units="
            raise ValueError(f"{self.path / self.files[index]}: has {said}.")
        record_id, patient_id, row = self.table.line(index) if self.table else ("", "", {})
        record_id = record_id or Path(self.files[index]).with_suffix("").as_posix()
        ecg = (sheet.ecg * factor).astype(np.float32)
        return Record(record_id, patient_id or record_id, ecg, sheet.leads, sheet.hertz, row)


@dataclass(frozen=True)
class Sheet:
    """The ECG of one file, in its own unit."""

    ecg: Float[np.ndarray, "lead time"]
    leads: tuple[str, ...]
    hertz: float
    factor: float | None  # millivolts of one unit, where the file says so


def read_sheet(path: Path, leads: tuple[str, ...], hertz: float | None) -> Sheet:
    """Read one file, or raise ValueError with what is wrong, the file's name left to the caller."""
    lines = first_lines(path)
    if "\0" in lines[0]:
        raise ValueError("holds binary data, not a table of text")
    told = lines[0].lower().startswith("sep=")  # what Excel writes for itself
    separator = lines[0][4:5] or "," if told else separator_of(lines[0], decimals=True)
    lines = lines[told:] or [""]
    first = [cell.strip() for cell in next(csv.reader(lines[:1], delimiter=separator), [])]
    headed = any(lead_name(split_unit(cell)[0]) for cell in first)
    if not headed and not leads:
        raise ValueError(f"its first line names no ECG lead: {', '.join(first)[:100] or 'it is empty'}")
    if not headed and len(leads) != len(first):
        raise ValueError(f"has {len(first)} columns where `leads` names {len(leads)}")
    names, units = zip(*map(split_unit, first), strict=True) if headed else (leads, ("",) * len(leads))
    found = places(names)
    factors = {named_factor(units[place]) for place in found.values()}
    if len(factors) > 1:
        raise ValueError("gives its leads in different units")
    clock = next((place for place, name in enumerate(names) if name.lower() in TIMES), None)
    wanted = list(found.values()) if clock is None else [*found.values(), clock]
    separator = separator if len(first) > 1 else ALONE
    decimal = "," if separator != "," and any("," in line for line in lines[headed:]) else "."
    values = read_numbers(path, wanted, first, sep=separator, decimal=decimal, skiprows=told + headed)
    if clock is not None:
        unit = (units[clock] or TIMES[names[clock].lower()]).lower()
        if unit not in SECONDS:
            raise ValueError(f"has a column of times in {unit!r}, not in s, ms or us")
        hertz = agreed(rate_of(values[-1] * SECONDS[unit]), hertz)
    if not hertz:
        raise ValueError("has no column of times: say its rate with hertz=")
    return Sheet(values[: len(found)], tuple(found), float(hertz), factors.pop())


def first_lines(path: Path) -> list[str]:
    """Return the whole lines at the beginning of a file, at least one."""
    with path.open("rb") as file:
        start = file.read(2**18)
    whole = start[: start.rfind(b"\n") + 1] or start
    return decoded(whole).lstrip("\ufeff").splitlines() or [""]


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
        raise ValueError(f"gives a lead in {unit!r}, which is no unit of voltage")
    return millivolts(unit)


def read_numbers(
    path: Path, wanted: list[int], names: list[str], **how: Any
) -> Float[np.ndarray, "column time"]:
    """Read columns as numbers, an empty cell as NaN; `names` are for what is said of a bad cell."""
    import pandas as pd

    # In a file of one column an empty line is a lost sample: without it, all that follow would shift.
    if len(names) == 1:
        how |= {"skip_blank_lines": False, "names": [0], "index_col": False}
    table = pd.read_csv(path, header=None, usecols=wanted, encoding_errors="replace", **how)
    table = table[: int(table.notna().any(axis=1).to_numpy().nonzero()[0].max(initial=-1)) + 1]
    columns = []
    for place in wanted:
        numbers = pd.to_numeric(table[place], errors="coerce").to_numpy(float)
        bad = np.isnan(numbers) & table[place].notna().to_numpy()
        if bad.any():
            line = int(bad.argmax())
            cell = str(table[place].iloc[line])[:40]
            raise ValueError(f"row {line + 1} of column {names[place]}: {cell!r} is no number")
        columns.append(numbers)
    return np.stack(columns)


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


def agreed(found: float, said: float | None) -> float:
    """Return the rate that the file and the user agree on."""
    if said and abs(found - said) > 0.01 * said:
        raise ValueError(f"has a column of times that gives {found:g} Hz, not hertz={said:g}")
    return said or found
