"""ECGs beside a table of right heart catheterisations: pressures in mmHg, one waveform file a line.

The layout is that of "Deep Metric Learning for the Hemodynamics Inference with Electrocardiogram Signals",
Proceedings of Machine Learning Research 219, 2023; other tables fit by naming their columns.
"""

import os
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from einthoven.data.convert import MISSING, plain
from einthoven.data.files import checksum
from einthoven.data.sheet import Sheet, read_sheet
from einthoven.data.store import COLUMNS
from einthoven.data.tables import (
    lead_list,
    measured,
    named,
    proves_comma,
    read_cells,
    sexes,
    typed,
    unit_factor,
)
from einthoven.ecg import Record, Source
from einthoven.parts import hint

__all__ = ["Catheter"]

# What we call it -> what the published table calls it.
WHO = {"patient": "QuantaID", "date": "Date_of_Cath", "age": "Age_at_Cath", "sex": "Sex"}
PARTS = ("sys", "dia", "mean")
MEASURED = {f"{what.lower()}_{part}": f"{what}_{part}" for what in ("PAP", "PCWP") for part in PARTS}
PUBLISHED = WHO | MEASURED | {"co": "CO", "pvr": "PVR", "admit_diag": "Admit_Diag"}
# Outside these a number is a slip of the pen or of the transducer, and unknown: mmHg, and litres a minute.
# The published table does not say the unit of PVR, so nothing is outside.
RANGES = {f"pcwp_{part}": (-5.0, 80.0) for part in PARTS}
RANGES |= {f"pap_{part}": (-5.0, 150.0) for part in PARTS} | {"co": (0.1, 30.0)}
NUMBERS = {"age", "fold", "pvr", *RANGES}
THEIRS = {"age", "sex", "fold", "report"}  # columns of every store that a table may fill
HERTZ, UNITS = 500.0, "uV"  # of the published waveforms
NAMES = "{patient}_{date}.csv"
PLACE = re.compile(r"\{([^{}]+)\}")
NOT_IN_NAMES = re.compile(r'[/\\:*?"<>| ]')  # what a date may hold and a file's name may not


class Catheter(Source):
    """Reads the table `path/tabular_data.csv` (or the table that `path` names) and a waveform for each line.

    `columns` says what a table calls things, as in {"patient": "MRN", "pcwp_mean": "Wedge"}; without it they
    are called as in the published one. `waveforms` is the name of a line's file, from the table's folder,
    with columns in braces, or just their folder. A waveform is an index or times, and a column a lead, named
    in its first line or, in order, by `leads`. Its rate is that of its times, or else `hertz` (500); its unit
    that beside the names of its leads, or else `units` (microvolts). An id is "{patient}_{date}".
    `male` is the value of the column of sex that means male, where it does not hold words.
    """

    def __init__(
        self,
        path: Path,
        *,
        table: str = "tabular_data.csv",
        waveforms: str = NAMES,
        columns: Mapping[str, str] | None = None,
        male: str | int | bool = "",
        leads: tuple[str, ...] | str = (),
        hertz: float | None = None,
        units: str | float = "",
    ):
        path = Path(path)
        self.table = path if path.is_file() else path / table
        self.path = self.table.parent
        self.hertz, self.leads = hertz, lead_list(leads)
        self.order = tuple(named(self.leads)) if self.leads else ()
        if units == "auto" or not (hertz is None or hertz > 0):
            raise ValueError("Waveforms need hertz above 0 and units: uV, mV, V or the mV of one unit.")
        self.factor = None if units == "" else unit_factor(units)
        self.columns, self.male = dict(columns or {}), str(male)  # an import tells its options apart
        if not self.table.is_file():
            raise ValueError(f"{self.table} is not there; name the table with table=.")
        register = Register(self.table, self.columns)
        self.stamp = checksum(self.table)
        pattern = waveforms if "{" in waveforms else f"{waveforms}/{NAMES}"
        self.lines, self.files = lines_of(register, self.male, pattern.replace("\\", "/"))
        self.title = f"Catheterisations of {self.path.resolve().name}"
        self.say_what_is_unknown()

    def say_what_is_unknown(self) -> None:
        """Count the implausible numbers that were left out; the store's column says where."""
        if self.male and "male" not in (held := {line.row.get("sex") for line in self.lines}):
            others = "all whose sex is known are female" if "female" in held else "no sex is known"
            warnings.warn(f"{self.table}: no line holds male={self.male}, so {others}.", stacklevel=3)
        counts = Counter(name for line in self.lines for name in line.row.get("implausible", "").split())
        if counts:
            spelt = ", ".join(f"{many} of {name}" for name, many in sorted(counts.items()))
            text = f"implausible numbers are taken as unknown ({spelt}); see column `implausible`"
            warnings.warn(f"{self.table}: {text}.", stacklevel=3)

    def __len__(self) -> int:
        return len(self.lines)

    def label(self, index: int) -> str:
        """Name a record by its id."""
        return self.lines[index].record_id

    def read(self, index: int) -> Record:
        """Read one record."""
        line = self.lines[index]
        if line.wrong:
            raise ValueError(line.wrong)
        path = self.path / self.files[index]
        sheet = read_sheet(path, self.leads, self.hertz, index=True, usual=HERTZ, quote=False)
        if wrong := self.contradiction(sheet):
            raise ValueError(f"{path}: {wrong}.")
        factor = sheet.factor or self.factor or unit_factor(UNITS)
        signal = (sheet.ecg * factor).astype(np.float32)
        return Record(line.record_id, line.patient_id, signal, sheet.leads, sheet.hertz, line.row)

    def contradiction(self, sheet: Sheet) -> str:
        """Tell what a waveform says otherwise than the options, or in doubt, or nothing."""
        both = [lead for lead in sheet.leads if lead in self.order]
        if both != [lead for lead in self.order if lead in both]:
            return "names its leads in another order than leads=; leave leads= out, or mend it"
        if sheet.factor and self.factor and sheet.factor != self.factor:
            return "has another unit than units=; leave units= out, then its own holds"
        if sheet.doubtful:
            return "has commas that may be those of thousands; write its numbers without them"
        return ""


@dataclass(frozen=True)
class Line:
    """What the table says of one catheterisation."""

    record_id: str
    patient_id: str
    row: dict[str, Any]
    wrong: str = ""  # why it cannot be read


class Register:
    """The table under our names: who, what was measured, and whatever else it holds."""

    def __init__(self, path: Path, columns: Mapping[str, str]):
        self.path = path
        table = read_cells(path, short=False)
        if not table.rows:
            raise ValueError(f"{path} lists no catheterisation.")
        self.lines, self.separator = table.lines, table.separator
        self.cells = dict(zip(table.names, zip(*table.rows, strict=True), strict=True))
        self.names = self.named(columns)
        self.comma = proves_comma(cell for name in NUMBERS & self.names.keys() for cell in self[name])

    def named(self, columns: Mapping[str, str]) -> dict[str, str]:
        """Map our names to the table's: those we know and those that we were told, then the rest."""
        for ours in columns:
            if ours in COLUMNS and ours not in THEIRS:
                raise ValueError(
                    f"columns.{ours} is a column that the store itself writes; take another name."
                )
        wanted = PUBLISHED | dict(columns)
        names = {ours: found for ours, theirs in wanted.items() if (found := self.find(str(theirs)))}
        for ours in ("patient", "date", *columns):
            if ours not in names:
                raise ValueError(
                    f"{self.path} has no column {wanted[ours]!r}; say --set columns.{ours}=..., one of: "
                    f"{', '.join(self.cells)}.{hint(str(wanted[ours]), self.cells)}"
                )
        for name in [name for name in self.cells if name and name not in names.values()]:
            ours = name.lower() if name.lower() in THEIRS else name
            if ours in names or ours == "implausible" or (ours in COLUMNS and ours not in THEIRS):
                raise ValueError(
                    f"{self.path}: column {name!r} would be {ours!r} in the store, a name that is taken; "
                    f"give it another: --set columns.NAME={name!r}."
                )
            names[ours] = name
        return names

    def find(self, name: str) -> str:
        """Return a column's name as the table spells it, or nothing."""
        known = {column.casefold(): column for column in self.cells}
        return name if name in self.cells else known.get(name.casefold(), "")

    def __getitem__(self, ours: str) -> Sequence[str]:
        """Return the cells of a column."""
        return self.cells[self.names[ours]]

    def others(self) -> dict[str, list[Any]]:
        """Return the columns that we know nothing of: numbers, yes and no, or text."""
        import pandas as pd

        found = {}
        for ours in self.names.keys() - WHO.keys() - NUMBERS:
            comma = self.comma or (self.separator != "," and proves_comma(self[ours]))
            found[ours] = [plain(value) for value in typed(pd.Series(self[ours], dtype=str), comma)]
        return dict(sorted(found.items()))

    def numbers(self, at: int) -> dict[str, float | str | None]:
        """Return the numbers of a line; what is implausible is unknown, and named."""
        row: dict[str, float | str | None] = {}
        slips = []
        for ours in [name for name in self.names if name in NUMBERS]:
            try:
                value = measured(self[ours][at], self.comma)
                if ours == "fold" and not (value is None or (1 <= value < 2**31 and value.is_integer())):
                    raise ValueError("is not a whole number from 1 up; mend or empty it")
            except ValueError as wrong:
                raise ValueError(f"{self.names[ours]} {wrong}") from wrong
            low, high = RANGES.get(ours, (-np.inf, np.inf))
            if value is not None and not low <= value <= high:
                slips.append(ours)
                value = None
            row[ours] = value
        return row | {"implausible": " ".join(slips)}

    def waveform(self, pattern: str, at: int, stand_in: str = "", *, bare: bool = False) -> str:
        """Fill in the name of a line's file; `stand_in` replaces what file names cannot hold.

        With `bare` only the id is filled in, for people: another cell may hold anything.
        """

        def cell(match: re.Match[str]) -> str:
            column = self.names.get(match[1]) or self.find(match[1])
            if not column:
                raise ValueError(
                    f"waveforms: {self.path} has no column {match[1]!r}.{hint(match[1], self.cells)}"
                )
            text = self.cells[column][at]
            if column not in (self.names["patient"], self.names["date"]):
                text = match[0] if bare else text.replace("\\", "/")
            return NOT_IN_NAMES.sub(stand_in, text) if stand_in else text

        return PLACE.sub(cell, pattern)


def lines_of(register: Register, male: str, pattern: str) -> tuple[list[Line], tuple[str, ...]]:
    """Return what is known of each line, and the name of its file ("" where there is none)."""
    patients, dates, path = register["patient"], register["date"], register.path
    ids = [f"{patient}_{date}" for patient, date in zip(patients, dates, strict=True)]
    found = [find_waveform(register, pattern, at) for at in range(len(ids))]
    if not any(len(names) == 1 for names in found):
        raise ValueError(
            f"{path}: {path.parent} holds no waveform of any line, such as "
            f"{register.waveform(pattern, 0, bare=True)!r}; say how they are called with waveforms=."
        )
    rows, claims = Counter(ids), Counter(name for names in found for name in names)
    columns = register.others()
    if "sex" in register.names:
        columns["sex"] = sexes(register["sex"], register.lines, male, f"{path}: {register.names['sex']}")
    lines = []
    for at, record_id in enumerate(ids):
        row: dict[str, Any] = {name: values[at] for name, values in columns.items()}
        wrong = ""
        try:
            refuse_unnamed(register, at, rows[record_id])
            refuse_unfound(found[at], register.waveform(pattern, at, bare=True), claims)
            row |= register.numbers(at)
        except ValueError as reason:
            told = f"{path.name}, line {register.lines[at]}, record {record_id}: {reason}."
            wrong = " ".join(told.split())
        lines.append(Line(record_id, patients[at], row, wrong))
    return lines, tuple(names[0] if len(names) == 1 else "" for names in found)


def refuse_unnamed(register: Register, at: int, same: int) -> None:
    """Refuse a line that does not say whose it is, or when, or says the same as another."""
    who, when = register.names["patient"], register.names["date"]
    for name in (who, when):
        if register.cells[name][at].lower() in MISSING:
            raise ValueError(f"it has no {name}; fill it in")
    if same > 1:
        raise ValueError(f"{same} lines have this {who} and {when}; keep one, or tell them apart")


def refuse_unfound(found: Sequence[str], wanted: str, claims: Mapping[str, int]) -> None:
    """Refuse a line whose waveform is not there, or not for sure its own."""
    if not found:
        raise ValueError(f"its waveform {wanted} is not there; bring it, or say waveforms=")
    if len(found) > 1:
        raise ValueError(f"its waveform is {' or '.join(found)}; keep one")
    if claims[found[0]] > 1:
        raise ValueError(f"its waveform {found[0]} would be that of another line, too; say waveforms=")


def find_waveform(register: Register, pattern: str, at: int) -> list[str]:
    """Return the files that a line may mean: the one of that name, or those of names written for a disk.

    A date 3/4/2012 10:30 may be 3-4-2012-10-30 or the same with dots or underscores; nothing else is tried,
    for a wrong ECG is worse than none. A name that no disk can hold is not there, nor one that an id
    or a date leads away with; another column may hold any path.
    """
    names = [Path(register.waveform(pattern, at, stand_in)).as_posix() for stand_in in ("", "-", "_", ".")]
    away = any(leads_away(register[who][at]) for who in ("patient", "date"))
    tried = dict.fromkeys(names[1:] if away else names)
    there = [name for name in tried if os.path.isfile(register.path.parent / name)]
    return there[:1] if there[:1] == names[:1] else there


def leads_away(cell: str) -> bool:
    """Say whether a cell, taken as a path, leaves the folder."""
    return Path(cell).is_absolute() or ".." in Path(cell).parts
