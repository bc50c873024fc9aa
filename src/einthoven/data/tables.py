"""What is said beside the ECGs: tables of the records, the names of leads, units told or guessed, axes."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from einthoven.data.convert import MISSING, number, plain, tidy
from einthoven.data.files import checksum
from einthoven.data.signal import places
from einthoven.data.wfdb16 import millivolts

PATHS = ("path", "file", "filename")
IDS = ("record_id", "patient_id")
KNOWN = (*IDS, "age", "sex", "fold", "report", *PATHS)
END = "\x1f"  # a line that no table holds
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:[.,]\d{3})+")  # a number whose comma or point may be of those
LOOKED_AT = 16  # records that `units = "auto"` looks at
# Range of an ECG's middle lead in each unit. Between these lies doubt: counts of a converter, mostly.
SPANS = {"V": (1e-4, 2e-2), "mV": (0.1, 20.0), "uV": (300.0, 2e4)}


@dataclass(frozen=True)
class Cells:
    """A table as text, its first line apart."""

    names: tuple[str, ...]
    rows: Sequence[list[str]]  # none longer than the first line, but some may be shorter
    lines: Sequence[int]  # of the file, on which each row begins
    separator: str


def read_cells(path: Path) -> Cells:
    """Read a table as text without blanks around it; lines of nothing but blanks are no rows.

    The text is UTF-8 or, as older programs write it, Windows-1252; the separator is that of the first line.
    """
    try:
        content = told(path)
        filled = [line for line in content.split("\n", 16)[:16] if line.strip()]
        marked = bool(filled) and filled[0].lower().startswith("sep=")  # what Excel writes for itself
        separator = filled[0][4:5].strip("\r") or "," if marked else separator_of("".join(filled[:1]))
        # The last line is ours: a quote that is never closed would swallow it.
        reader = csv.reader(chain(io.StringIO(content, newline=""), [END]), delimiter=separator)
        begins, rows = [1], []
        for row in reader:
            rows.append([cell.strip() for cell in row])
            begins.append(reader.line_num + 1)
        whole = [(line, row) for line, row in zip(begins, rows, strict=False) if len(row) > 1 or any(row)]
        return cells_of(whole[marked:], separator)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read as a table ({error.strerror or error}).") from error
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path} is not a table of comma-separated text ({error}).") from error


def cells_of(whole: list[tuple[int, list[str]]], separator: str) -> Cells:
    """Tell the first line from the others, or refuse a table that is not one."""
    if whole.pop()[1] != [END]:
        raise ValueError("a quote in it is never closed")
    if not whole:
        raise ValueError("it is empty")
    (_, names), *others = whole
    for line, row in others:
        if len(row) > len(names):
            raise ValueError(f"line {line}: {len(row)} cells where the first line names {len(names)}")
    return Cells(tuple(names), [row for _, row in others], [line for line, _ in others], separator)


def read_table(path: Path, key: str = "") -> Any:
    """Read a table with a line for each record: of text, save for columns of nothing but numbers.

    Columns that we know are found in any case. Ids and paths are text, and so is the first column where
    none is named `key`. The index holds the lines of the file.
    """
    import pandas as pd

    table = read_cells(path)
    named = [name or f"Unnamed: {place}" for place, name in enumerate(table.names)]
    names = [name.lower() if name.lower() in KNOWN else name for name in named]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"{path} has column {twice[0]!r} twice: keep one.")
    words = {*IDS, *PATHS, "report"}
    if key and key not in names:
        words.add(names[0])
    columns = list(zip_longest(*table.rows, fillvalue="")) or [()] * len(names)
    cells = {
        name: pd.Series(column, table.lines, dtype=object) for name, column in zip(names, columns, strict=True)
    }
    comma = table.separator != "," and any(
        cell.str.fullmatch(r"[+-]?\d+,\d+").any() for name, cell in cells.items() if name not in words
    )
    return pd.DataFrame(
        {name: filled(cell) if name in words else typed(cell, comma) for name, cell in cells.items()}
    )


def told(path: Path) -> str:
    """Return the text of a file."""
    raw = path.read_bytes()
    if b"\0" in raw:
        raise ValueError("it holds binary data; save it as CSV (UTF-8)")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")


def separator_of(line: str, *, decimals: bool = False) -> str:
    """Return what separates the cells of a line; with `decimals`, a comma only where nothing else does.

    >>> separator_of("I;II"), separator_of("0,5;0,25;0,125", decimals=True), separator_of("a,b")
    (';', ';', ',')
    """
    bare = "".join(line.split('"')[::2])  # not what stands in quotes
    other = decimals and (";" in bare or "\t" in bare)
    return max(";\t" if other else ";\t,", key=bare.count)


def proves_comma(cells: Iterable[str]) -> bool:
    """Is there a number whose comma can only be a decimal one?

    >>> proves_comma(["1.5", "1,200"]), proves_comma(["0,5"]), proves_comma(["12,25"])
    (False, True, True)
    """
    numbers = (cell for cell in cells if "," in cell and isinstance(number(cell), float))
    return any(not THOUSANDS.fullmatch(cell) for cell in numbers)


def filled(cells: Any) -> Any:
    """Make nothing of empty cells."""
    return cells.mask(cells == "")


def typed(cells: Any, comma: bool) -> Any:
    """Turn a column of text into numbers or yes and no if all of it is; codes such as 007 stay text."""
    import pandas as pd

    low = cells.str.lower()
    words = low[~low.isin(MISSING)]
    if words.empty:
        return filled(cells)
    if words.isin(("true", "false")).all():
        return low.map({"true": True, "false": False}).astype("boolean")
    code = words.str.fullmatch(r"[+-]?(?:0\d.*|\d{16,})")
    if comma:  # then a point may be one of thousands
        code |= words.str.contains(".", regex=False)
        words = words.str.replace(",", ".")
    numbers = pd.to_numeric(words, errors="coerce")
    if code.any() or numbers.isna().any():
        return filled(cells)
    whole = words.str.fullmatch(r"[+-]?\d+").all()
    return numbers.astype("Int64" if whole else "Float64").reindex(cells.index)


class Table:
    """A table with a line for each record: who it is of and what else is known."""

    def __init__(self, path: Path):
        self.path = path
        self.frame = read_table(path)
        self.stamp = checksum(path)

    @classmethod
    def beside(cls, folder: Path, name: str) -> "Table":
        """Find a table by its name in the folder of the data, or else by its path."""
        return cls(folder / name if (folder / name).is_file() else Path(name))

    def __len__(self) -> int:
        return len(self.frame)

    def column(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the first of these columns that is there, as text."""
        for name in names:
            if name in self.frame:
                return tuple(self.frame[name].fillna(""))
        raise ValueError(
            f"{self.path} has no column {' or '.join(names)}; found: {', '.join(map(str, self.frame))}."
        )

    def line(self, index: int) -> tuple[str, str, dict[str, Any]]:
        """Return record id, patient id ("" = not said) and the other columns of a line."""
        cells = {str(name): cell for name, cell in self.frame.iloc[index].items() if name not in PATHS}
        record_id = plain(cells.pop("record_id", None))
        try:
            row = tidy(cells)
        except ValueError as error:
            raise ValueError(f"{self.path}, line {self.frame.index[index]}: {error}.") from error
        return record_id or "", row.pop("patient_id") or "", row


def lead_list(leads: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of leads, which a command line gives as `I,II`.

    >>> lead_list("I, II"), lead_list(("V1",))
    (('I', 'II'), ('V1',))
    """
    names = leads.split(",") if isinstance(leads, str) else leads
    return tuple(name.strip() for name in names if name.strip())


def unit_factor(units: str | float) -> float:
    """Return the millivolts of one unit: "mV", "uV", "V", or the number itself."""
    if isinstance(units, str):
        if (known := millivolts(units)) is None:
            raise ValueError(f"units {units!r} is not mV, uV, V, auto or the millivolts of one unit.")
        return known
    return float(units)


def spread(records: int) -> list[int]:
    """Return a few record numbers spread over all of them."""
    return [int(index) for index in np.unique(np.linspace(0, records - 1, LOOKED_AT).astype(int))]


def guess(ecgs: Iterable[Float[np.ndarray, "lead time"]], where: Path) -> float:
    """Return the millivolts of one unit by the amplitude of some ECGs, or refuse where it leaves a doubt.

    An ECG's size is the range of its middle lead from the lowest to the highest half percent.
    """
    sizes = []
    for ecg in ecgs:
        known = ecg[np.isfinite(ecg).any(axis=1)]
        if len(known):
            low, high = np.nanpercentile(known, (0.5, 99.5), axis=1)
            sizes.append(float(np.median(high - low)))
    size = float(np.median(sizes)) if sizes else 0.0
    for unit, (low, high) in SPANS.items():
        if low <= size <= high:
            return unit_factor(unit)
    raise ValueError(f"{where}: its ECGs span {size:.3g}, for sure in none of V, mV, uV; say units=.")


def named(leads: Sequence[str]) -> dict[str, int]:
    """Map the standard names of leads to their places in an array."""
    try:
        return dict(places(tuple(leads)))
    except ValueError as error:
        raise ValueError(f"leads: {error}.") from error


def time_first(shape: tuple[int, ...], leads: int, where: Any) -> bool:
    """Tell (.., time, lead) from (.., lead, time) by the axis that is as long as there are leads."""
    if len(shape) not in (2, 3):
        raise ValueError(f"{where}: an array of shape {shape}, not (record, lead, time) or (lead, time).")
    first, last = (size == leads for size in shape[-2:])
    if first and last:
        raise ValueError(f"{where}: shape {shape} does not say which of its axes of {leads} is time.")
    if not first and not last:
        raise ValueError(
            f"{where}: shape {shape} has no axis of {leads} leads; name those it has with leads=."
        )
    return last
