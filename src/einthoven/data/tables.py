"""What is said beside the ECGs: tables of the records, the names of leads, units told or guessed, axes."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from einthoven.data.convert import MISSING, SEXES, number, plain, tidy
from einthoven.data.files import checksum
from einthoven.data.signal import places
from einthoven.data.wfdb16 import millivolts

PATHS = ("path", "file", "filename")
IDS = ("record_id", "patient_id")
KNOWN = (*IDS, "age", "sex", "fold", "report", *PATHS)
END = "\0"  # what no text holds
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:[.,]\d{3})+")  # a number whose comma or point may be of those
LOOKED_AT = 16  # records that `units = "auto"` looks at
# Range of an ECG's middle lead in each unit. Between these lies doubt: counts of a converter, mostly.
SPANS = {"V": (1e-4, 2e-2), "mV": (0.1, 20.0), "uV": (300.0, 2e4)}


@dataclass(frozen=True)
class Cells:
    """A table as text, its first line apart."""

    names: tuple[str, ...]
    rows: Sequence[list[str]]  # none longer than the first line, but some may be shorter
    lines: list[int]  # of the file, on which each row begins
    separator: str


def read_cells(path: Path, *, short: bool = True) -> Cells:
    """Read a table as text without blanks around it; lines of nothing but blanks are no rows.

    The text is UTF-8 or, as older programs write it, Windows-1252; the separator is that of the first line.
    No column but those without a name has the name of another. Where no line may be `short`, lines of
    nothing but separators are no rows, either.
    """
    try:
        content = told(path)
        first = next((line for line in content.split("\n", 16)[:16] if line.strip()), "")
        marked = first.lower().startswith("sep=")  # what Excel writes for itself
        separator = first[4:5].strip("\r") or "," if marked else separator_of(first)
        # The last line is ours: a quote that is never closed would swallow it.
        end = [END, END]
        lines = chain(io.StringIO(content, newline=""), [separator.join(end)])
        reader = csv.reader(lines, delimiter=separator)
        begins, rows = [1], []
        for row in reader:
            rows.append(row)
            begins.append(reader.line_num + 1)
        if rows.pop() != end:
            raise ValueError(f"the quote that opens in line {begins[-2]} is never closed")
        rows = [[cell.strip() for cell in row] for row in rows]
        whole = [(line, row) for line, row in zip(begins, rows, strict=False) if len(row) > 1 or any(row)]
        cells = cells_of(whole[marked:], separator, short)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read as a table ({error.strerror or error}).") from error
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path} is not a table of comma-separated text ({error}).") from error
    refuse_twice(path, filter(None, cells.names))
    return cells


def refuse_twice(path: Path, names: Iterable[str]) -> None:
    """Refuse a table with two columns of one name."""
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"{path} has column {twice[0]!r} twice: keep one.")


def cells_of(whole: list[tuple[int, list[str]]], separator: str, short: bool) -> Cells:
    """Tell the first line from the others, or refuse a table that is not one."""
    if not whole:
        raise ValueError("it is empty")
    (_, names), *others = whole
    others = [(line, row) for line, row in others if short or any(row)]
    for line, row in others:
        if len(row) > len(names) or (len(row) < len(names) and not short):
            said = f"line {line}: {len(row)} cells where the first line names {len(names)}"
            raise ValueError(f"{said}; text with separators or line breaks in it stands in quotes")
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
    refuse_twice(path, names)
    words = {*IDS, *PATHS, "report"}
    if key and key not in names:
        words.add(names[0])
    cells = {
        name: pd.Series([*column_of(table.rows, place)], table.lines, dtype=str)
        for place, name in enumerate(names)
    }
    comma = table.separator != "," and any(
        cell.str.fullmatch(r"[+-]?\d+,\d+").any() for name, cell in cells.items() if name not in words
    )
    return pd.DataFrame(
        {name: filled(cell) if name in words else typed(cell, comma) for name, cell in cells.items()}
    )


def column_of(rows: Iterable[list[str]], place: int) -> Iterator[str]:
    """Yield the cells of a column, "" for those of short lines."""
    return (row[place] if place < len(row) else "" for row in rows)


def told(path: Path) -> str:
    """Return the text of a file."""
    raw = path.read_bytes()
    if b"\0" in raw:
        line = raw[: raw.index(b"\0")].count(b"\n") + 1
        raise ValueError(
            f"it holds binary data; save it as CSV (UTF-8), without the zero byte in line {line}"
        )
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


def measured(cell: str, comma: bool) -> float | None:
    """Read a number, or nothing; a refusal does not quote it.

    `comma` says whether a comma is known to be the decimal sign.

    >>> measured("1,200", True), measured("1.200", False), measured("12,5", False), measured("", False)
    (1.2, 1.2, 12.5, None)
    """
    value = number(cell)
    if isinstance(value, str):
        raise ValueError("is not a number; write it as one, or leave the cell empty")
    if THOUSANDS.fullmatch(cell) and ("," in cell) != comma:
        sign = "comma" if "," in cell else "point"
        raise ValueError(f"has a {sign} that may be one of thousands; write it without")
    return None if value is None else float(value)


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


def sexes(cells: Sequence[str], lines: Sequence[int], male: str, where: str) -> list[str | None]:
    """Read sex from words, or from codes of which one is said to mean male; a refusal quotes no free text.

    Args:
        cells: The column.
        lines: The line of the file on which each cell stands.
        male: The value that means male, or "" where nobody said.
        where: Names the file and the column.
    """
    words = [spelt(cell) for cell in cells]
    first: dict[str, int] = {}  # the line on which each value first stands
    for word, line in zip(words, lines, strict=True):
        if word not in MISSING:
            first.setdefault(word, line)
    meaning = {word: SEXES.get(word) for word in first}
    if not male:
        refuse_codes(first, where)
    elif any(meaning.values()):
        meaning |= with_words(first, male, where)
    else:
        if len(more := [line for word, line in first.items() if word != spelt(male)]) > 1:
            raise ValueError(
                f"{where} holds {len(first)} values: with male={male} there can be one other, and line "
                f"{more[1]} holds one more; empty the rest."
            )
        meaning = {word: "male" if word == spelt(male) else "female" for word in first}
    return [meaning.get(word) for word in words]


def refuse_codes(first: Mapping[str, int], where: str) -> None:
    """Refuse codes of which nobody said what they mean."""
    codes = sorted(word for word in first if re.fullmatch(r"[\d.+-]+|yes|no|[yntx]", word))
    if codes:
        short = all(len(code) == 1 or code.isalpha() for code in codes)
        held = ", ".join(codes) if short else f"{len(codes)} codes (one in line {first[codes[0]]})"
        example = codes[0] if short else "that"
        said = f"{where} holds {held} and does not say which is male"
        raise ValueError(f"{said}: say --set male={example} or another of them.")


def with_words(first: Mapping[str, int], male: str, where: str) -> dict[str, str | None]:
    """Return what is male by the user's word, unless the words of the column speak against it."""
    man = spelt(male)
    known = [word for word in first if word in SEXES]
    strange = man not in SEXES and (man not in first or any(SEXES[word] == "male" for word in known))
    if strange or SEXES.get(man) == "female":
        raise ValueError(
            f"{where} holds words (the first in line {first[known[0]]}) that male={male} does not fit: leave "
            "male out, or write every sex as a word."
        )
    for word, line in first.items():
        if word != man and word not in SEXES:
            raise ValueError(
                f"{where}, line {line}: neither a word for a sex nor male={male}; write it as a word, or "
                "leave male out, then it is unknown."
            )
    return {man: "male"}


def spelt(cell: str) -> str:
    """Spell a code in one way: `True`, `1.0` and `1` are three spellings of "1".

    >>> spelt("True"), spelt("0.0"), spelt(" Female")
    ('1', '0', 'female')
    """
    word = cell.strip().lower()
    return {"true": "1", "false": "0"}.get(word, word.removesuffix(".0"))
