"""What is said beside the ECGs: tables of the records, the names of leads, units told or guessed, axes."""

import io
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from einthoven.data.convert import MISSING, plain, tidy
from einthoven.data.files import checksum
from einthoven.data.signal import places
from einthoven.data.wfdb16 import millivolts

PATHS = ("path", "file", "filename")
IDS = ("record_id", "patient_id")
KNOWN = (*IDS, "age", "sex", "fold", "report", *PATHS)
LOOKED_AT = 16  # records that `units = "auto"` looks at
# Range of an ECG's middle lead in each unit. Between these lies doubt: counts of a converter, mostly.
SPANS = {"V": (1e-4, 2e-2), "mV": (0.1, 20.0), "uV": (300.0, 2e4)}


def read_table(path: Path, key: str = "") -> Any:
    """Read a table with a line for each record: of text, save for columns of nothing but numbers.

    Columns that we know are found in any case. The text is UTF-8 or, as older programs write it,
    Windows-1252; the separator is that of the first line. Ids and paths are text, and so is the first
    column where none is named `key`.
    """
    import pandas as pd

    try:
        content = told(path).lstrip("\r\n")
        first, _, rest = content.partition("\n")
        separator = separator_of(first)
        if first.lower().startswith("sep="):  # what Excel writes for itself
            content, separator = rest, first[4:5] or ","
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # more cells than the first line names
            frame = pd.read_csv(
                io.StringIO(content), sep=separator, dtype=str, keep_default_na=False, index_col=False
            )
    except OSError as error:
        raise ValueError(f"{path}: cannot be read as a table ({error.strerror or error}).") from error
    except (ValueError, pd.errors.ParserWarning) as error:
        said = " ".join(str(error).split()).removesuffix(".")
        raise ValueError(f"{path} is not a table of comma-separated text ({said}).") from error
    stripped = [str(name).strip() for name in frame]
    frame.columns = pd.Index([name.lower() if name.lower() in KNOWN else name for name in stripped])
    if twice := list(frame.columns[frame.columns.duplicated()]):
        raise ValueError(f"{path} has column {twice[0]!r} twice: keep one.")
    words = {*IDS, *PATHS, "report"}
    if key and key not in frame:
        words.add(frame.columns[0])
    cells = {name: frame[name].fillna("").str.strip() for name in frame}
    comma = separator != "," and any(
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
            raise ValueError(f"{self.path}, line {index + 2}: {error}.") from error
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
