"""ECGs beside a table of right heart catheterisations: pressures in mmHg, one waveform file a line.

The layout is that of "Deep Metric Learning for the Hemodynamics Inference with Electrocardiogram Signals",
Proceedings of Machine Learning Research 219, 2023; other tables fit by naming their columns.
"""

import csv
import io
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from einthoven.data.convert import BROKEN, MISSING, SEXES, broken, number, plain
from einthoven.data.files import checksum
from einthoven.data.signal import places
from einthoven.data.store import COLUMNS
from einthoven.data.tables import lead_list, separator_of, told, typed, unit_factor
from einthoven.ecg import LEADS, Record, Source, lead_name
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
NUMBERS = {"age", "pvr", *RANGES}
THEIRS = {"age", "sex", "fold", "report"}  # columns of every store that a table may fill
NAMES = "{patient}_{date}.csv"
PLACE = re.compile(r"\{([^{}]+)\}")
NOT_IN_NAMES = re.compile(r'[/\\:*?"<>| ]')  # what a date may hold and a file's name may not


class Catheter(Source):
    """Reads the table `path/tabular_data.csv` (or the table that `path` names) and a waveform for each line.

    `columns` says what a table calls things, as in {"patient": "MRN", "pcwp_mean": "Wedge"}; without it they
    are called as in the published one. `waveforms` is the name of a line's file, from the table's folder,
    with columns in braces, or just their folder. A waveform is an index and a column a lead, named in its
    first line or, in order, by `leads`; `hertz` and `units` hold for all. An id is "{patient}_{date}".
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
        hertz: float = 500.0,
        units: str | float = "uV",
    ):
        path = Path(path)
        self.table = path if path.is_file() else path / table
        self.path = self.table.parent
        self.hertz, self.leads = float(hertz), lead_list(leads)
        if units == "auto" or not self.hertz > 0:
            raise ValueError("Waveforms need hertz above 0 and units: uV, mV, V or the mV of one unit.")
        self.factor = unit_factor(units)
        self.columns, self.male = dict(columns or {}), str(male)  # an import tells its options apart
        sheet = Sheet(self.table, self.columns, self.male)
        self.stamp = checksum(self.table)
        self.lines, self.files = lines_of(sheet, waveforms if "{" in waveforms else f"{waveforms}/{NAMES}")
        self.title = f"Catheterisations of {self.path.resolve().name}"
        self.say_what_is_unknown()

    def say_what_is_unknown(self) -> None:
        """Count the implausible numbers that were left out; the store's column says where."""
        counts = Counter(name for line in self.lines for name in line.row.get("implausible", "").split())
        if counts:
            spelt = ", ".join(f"{many} of {name}" for name, many in sorted(counts.items()))
            text = (
                f"{self.table}: implausible numbers are taken as unknown ({spelt}); see column `implausible`."
            )
            warnings.warn(text, stacklevel=3)

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
        ecg, leads = read_waveform(self.path / self.files[index], self.leads)
        signal = (ecg * self.factor).astype(np.float32)
        return Record(line.record_id, line.patient_id, signal, leads, self.hertz, line.row)


@dataclass(frozen=True)
class Line:
    """What the table says of one catheterisation."""

    record_id: str
    patient_id: str
    row: dict[str, Any]
    wrong: str = ""  # why it cannot be read


def read_cells(path: Path) -> tuple[list[list[str]], str]:
    """Read a table as text (an id is not a number), line by line; say what separates its cells."""
    try:
        content = told(path).lstrip("\r\n")
        separator = separator_of(content.partition("\n")[0])
        lines = list(csv.reader(io.StringIO(content, newline=""), delimiter=separator))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); name the table with table=.") from error
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path} is not a table of text ({error}).") from error
    return [[cell.strip() for cell in line] for line in lines if any(line)], separator


class Sheet:
    """The table under our names: who, what was measured, and whatever else it holds."""

    def __init__(self, path: Path, columns: Mapping[str, str], male: str):
        self.path = path
        lines, separator = read_cells(path)
        if len(lines) < 2:
            raise ValueError(f"{path} lists no catheterisation.")
        head, *body = lines
        for at, line in enumerate(body, 2):
            if len(line) != len(head):
                raise ValueError(
                    f"{path}, line {at}: {len(line)} cells where the first line names {len(head)}; "
                    "text with separators in it stands in quotes."
                )
        if twice := [name for name, count in Counter(head).items() if count > 1]:
            raise ValueError(f"{path} has column {twice[0]!r} twice: keep one.")
        self.cells = dict(zip(head, map(list, zip(*body, strict=True)), strict=True))
        self.decimals = separator != ","  # may a comma be a decimal one?
        self.names = self.named(columns)
        self.sex = sexes(self["sex"], male, f"{path}: {self.names['sex']}") if "sex" in self.names else []

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
        rest = [name for name in self.cells if name and name not in names.values()]
        for name in rest:
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

    def __getitem__(self, ours: str) -> list[str]:
        return self.cells[self.names[ours]]

    def others(self) -> dict[str, list[Any]]:
        """Return the columns that we know nothing of: numbers, yes and no, or text."""
        import pandas as pd

        found = {}
        for ours in self.names.keys() - WHO.keys() - NUMBERS:
            cells = pd.Series(self[ours], dtype=object)
            comma = self.decimals and bool(cells.str.fullmatch(r"[+-]?\d+,\d+").any())
            found[ours] = [plain(value) for value in typed(cells, comma)]
        return dict(sorted(found.items()))

    def measured(self, at: int) -> dict[str, float | str | None]:
        """Return the numbers of a line; what is implausible is unknown, and named."""
        row: dict[str, float | str | None] = {}
        slips = []
        for ours in [name for name in self.names if name in NUMBERS]:
            value = number(self[ours][at])
            if isinstance(value, str):
                raise ValueError(
                    f"{self.names[ours]} is not a number; write it as one, or leave the cell empty"
                )
            low, high = RANGES.get(ours, (-np.inf, np.inf))
            if value is not None and not low <= value <= high:
                slips.append(ours)
                value = None
            row[ours] = value
        return row | {"implausible": " ".join(slips)}


def lines_of(sheet: Sheet, waveforms: str) -> tuple[list[Line], tuple[str, ...]]:
    """Return what is known of each line, and the name of its file ("" where there is none)."""
    patients, dates = sheet["patient"], sheet["date"]
    ids = [f"{patient}_{date}" for patient, date in zip(patients, dates, strict=True)]
    found = [find_waveform(sheet, waveforms, at) for at in range(len(ids))]
    if not any(len(names) == 1 for names in found):
        raise ValueError(
            f"{sheet.path}: {sheet.path.parent} holds no waveform of any line, such as "
            f"{named_by(sheet, waveforms, 0, '')!r}; say how they are called with waveforms=."
        )
    files = tuple(names[0] if len(names) == 1 else "" for names in found)
    rows, claims, others = Counter(ids), Counter(files), sheet.others()
    lines = []
    for at, record_id in enumerate(ids):
        row: dict[str, Any] = {name: values[at] for name, values in others.items()}
        row |= {"sex": sheet.sex[at]} if sheet.sex else {}
        wrong = ""
        try:
            refuse_unnamed(sheet, at)
            if rows[record_id] > 1:
                names = f"{sheet.names['patient']} and {sheet.names['date']}"
                raise ValueError(f"{rows[record_id]} lines have this {names}; keep one, or tell them apart")
            refuse_unfound(found[at], named_by(sheet, waveforms, at, ""), claims)
            row |= sheet.measured(at)
        except ValueError as reason:
            wrong = f"{sheet.path.name}, line {at + 2}, record {record_id}: {reason}."
        lines.append(Line(record_id, patients[at], row, wrong))
    return lines, files


def refuse_unnamed(sheet: Sheet, at: int) -> None:
    """Refuse a line that does not say whose it is, or when."""
    for ours in ("patient", "date"):
        if sheet[ours][at].lower() in MISSING:
            raise ValueError(f"it has no {sheet.names[ours]}; fill it in")


def refuse_unfound(found: Sequence[str], wanted: str, claims: Mapping[str, int]) -> None:
    """Refuse a line whose waveform is not there, or not for sure its own."""
    if not found:
        raise ValueError(f"its waveform {wanted} is not there; bring it, or say waveforms=")
    if len(found) > 1:
        raise ValueError(f"its waveform is {' or '.join(found)}; keep one")
    if claims[found[0]] > 1:
        raise ValueError(f"its waveform {found[0]} would be that of another line, too; say waveforms=")


def named_by(sheet: Sheet, waveforms: str, at: int, stand_in: str) -> str:
    """Fill in the name of a line's file; `stand_in` replaces what file names cannot hold."""

    def cell(match: re.Match[str]) -> str:
        column = sheet.names.get(match[1]) or sheet.find(match[1])
        if not column:
            raise ValueError(
                f"waveforms: {sheet.path} has no column {match[1]!r}.{hint(match[1], sheet.cells)}"
            )
        text = sheet.cells[column][at]
        return NOT_IN_NAMES.sub(stand_in, text) if stand_in else text

    return PLACE.sub(cell, waveforms)


def find_waveform(sheet: Sheet, waveforms: str, at: int) -> list[str]:
    """Return the files that a line may mean: the one of that name, or those of names written for a disk.

    A date 3/4/2012 10:30 may be 3-4-2012-10-30 or the same with dots or underscores; nothing else is tried,
    for a wrong ECG is worse than none.
    """
    names = dict.fromkeys(named_by(sheet, waveforms, at, stand_in) for stand_in in ("", "-", "_", "."))
    there = [name for name in names if (sheet.path.parent / name).is_file()]
    return there[:1] if there[:1] == list(names)[:1] else there


def sexes(cells: Sequence[str], male: str, where: str) -> list[str | None]:
    """Read sex from words, or from codes of which one is said to mean male."""
    words = [spelt(cell) for cell in cells]
    held = sorted({word for word in words if word not in MISSING})
    if not male:
        if codes := [word for word in held if re.fullmatch(r"[\d.+-]+|true|false|yes|no|[yntx]", word)]:
            raise ValueError(
                f"{where} holds {', '.join(codes)} and does not say which is male: say --set male={codes[0]} "
                "or another of them."
            )
        return [SEXES.get(word) for word in words]
    man = spelt(male)
    if len({man, *held}) > 2:
        raise ValueError(
            f"{where} holds {', '.join(held)}: with male={male} there can be one other value; empty the rest."
        )
    return [None if word in MISSING else "male" if word == man else "female" for word in words]


def spelt(cell: str) -> str:
    """Spell a code in one way: `True`, `1.0` and `1` are three spellings of "1".

    >>> spelt("True"), spelt("0.0"), spelt(" Female")
    ('1', '0', 'female')
    """
    word = cell.strip().lower()
    return {"true": "1", "false": "0"}.get(word, word.removesuffix(".0"))


def read_waveform(
    path: Path, leads: tuple[str, ...]
) -> tuple[Float[np.ndarray, "lead time"], tuple[str, ...]]:
    """Read one file, in its own unit: the leads that its first line names, or else an index and `leads`."""
    import pandas as pd

    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            first = file.readline(4096)
        separator = separator_of(first, decimals=True)
        cells = [cell.strip() for cell in next(csv.reader([first], delimiter=separator), [])]
        headed = any(isinstance(number(cell), str) or not cell for cell in cells)
        found = places(names_of(cells, leads))
        how: dict[str, Any] = {"sep": separator, "decimal": "." if separator == "," else ","}
        how |= {"header": None, "skiprows": int(headed), "usecols": [*found.values()], "low_memory": False}
        table = pd.read_csv(path, **how)
        ecg = [numbers(table[place], cells[place] or place, headed) for place in found.values()]
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, *BROKEN) as error:
        why = " ".join(str(error).split()) if isinstance(error, ValueError) else broken(error)
        raise ValueError(f"{path}: {why.rstrip('.')}.") from error
    return np.stack(ecg), tuple(found)


def names_of(cells: Sequence[str], leads: tuple[str, ...]) -> tuple[str, ...]:
    """Name the columns of a waveform, or refuse to guess."""
    if any(lead_name(cell) for cell in cells):
        return tuple(cells)
    if not leads:
        raise ValueError(
            f"its first line names no ECG lead ({', '.join(cells)[:60] or 'it is empty'}); if its columns "
            f"stand in the usual order, say leads={','.join(LEADS)}"
        )
    if len(cells) != 1 + len(leads):
        raise ValueError(f"has {len(cells)} columns, not an index and the {len(leads)} leads of leads=")
    return ("", *leads)


def numbers(cells: Any, name: object, headed: bool) -> Float[np.ndarray, " time"]:
    """Read a column of samples, an empty cell as NaN."""
    import pandas as pd

    values = pd.to_numeric(cells, errors="coerce").to_numpy(float)
    bad = np.isnan(values) & cells.notna().to_numpy()
    if bad.any():
        raise ValueError(
            f"line {int(bad.argmax()) + 1 + headed} of column {name}: not a number; mend the file"
        )
    return np.asarray(values)
