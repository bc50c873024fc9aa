"""PTB-XL in its official layout, whole or in part (Wagner et al. 2020, doi:10.1038/s41597-020-0495-6).

Labels follow the benchmark of Strodthoff et al. 2021, doi:10.1109/jbhi.2020.3022989.
"""

import ast
import csv
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from einthoven.data.wfdb16 import read_header, read_plain
from einthoven.ecg import Record, Source

__all__ = ["PTBXL"]

DATABASE, STATEMENTS = "ptbxl_database.csv", "scp_statements.csv"
NEEDED = ("ecg_id", "patient_id", "age", "sex", "scp_codes", "strat_fold", "filename_lr", "filename_hr")
# Kept where they are there.
EXTRA = ("report", "site", "device", "heart_axis", "validated_by_human", "height", "weight", "pacemaker")
KINDS = ("diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass")
VERSIONS = {21_837: "1.0.1", 21_801: "1.0.2", 21_799: "1.0.3"}  # by the number of records
SEXES = {"0": "male", "1": "female"}
OLDEST = 90.0  # what we write for the code 300, "over 89 years"

Statements = Mapping[str, Mapping[str, str]]


class PTBXL(Source):
    """Reads `records100` up to 100 Hz and `records500` above.

    Tasks: `all`, `diag`, `subdiag`, `superdiag`, `form`, `rhythm`. A statement counts however unlikely
    its author held it to be (0 included). Age 90 stands for the code 300 (over 89 years).
    """

    rates: ClassVar[bool] = True

    def __init__(self, path: Path, *, hertz: float = 100.0):
        self.path = Path(path)
        self.folder = "records100" if hertz <= 100 else "records500"
        self.check_folder()
        self.statements = {line[""]: line for line in read_lines(self.path / STATEMENTS, ("", *KINDS))}
        self.lines = read_lines(self.path / DATABASE, NEEDED, EXTRA)
        self.title = title(len(self.lines))
        self.check_files()

    def check_folder(self) -> None:
        """Refuse a folder in another layout."""
        for name in (DATABASE, STATEMENTS):
            if (self.path / name).is_file():
                continue
            inner = next(self.path.glob(f"*/{name}"), None)
            hint = f" Did you mean {inner.parent}?" if inner else ""
            raise ValueError(
                f"{self.path} is no PTB-XL folder: it has no {name}. One holds {DATABASE}, {STATEMENTS}, "
                f"records100/ and records500/; `einthoven download ptbxl {self.path}` brings them.{hint}"
            )

    def check_files(self) -> None:
        """Refuse a rate of which most records are missing; a few are refused one by one."""
        names = [self.file(line) for line in self.lines]
        there = {
            f"{folder}/{entry.stem}"
            for folder in {name.rpartition("/")[0] for name in names}
            for entry in (self.path / folder).glob("*.hea")
        }
        here, total = sum(name in there for name in names), len(names)
        if not total:
            raise ValueError(f"{self.path / DATABASE} lists no record.")
        if here * 2 < total:
            held = f"{self.folder} holds {here:,} of {total:,} records in {self.path}"
            other = 100 if self.folder == "records500" else 500
            rest = f"download the rest: einthoven download ptbxl {self.path}"
            raise ValueError(f"{held}; import at --hertz {other}, or {rest}")

    def file(self, line: Mapping[str, str]) -> str:
        """Return a record's path in the folder, without suffix."""
        return line["filename_lr" if self.folder == "records100" else "filename_hr"]

    def __len__(self) -> int:
        return len(self.lines)

    def label(self, index: int) -> str:
        """Name a record by its path."""
        return self.file(self.lines[index])

    def read(self, index: int) -> Record:
        """Read one record, its labels by the benchmark's rules."""
        line = self.lines[index]
        name = self.file(line)
        try:
            if not (patient := whole(line["patient_id"])):
                raise ValueError("it has no patient_id")
            row = row_of(line) | labels(line["scp_codes"], self.statements)
        except ValueError as error:
            raise ValueError(f"{DATABASE}, ecg_id {line['ecg_id']}: {error}.") from error
        header = read_header(self.path / f"{name}.hea")
        if not header.plain:
            raise ValueError(f"{header.path}: not in PTB-XL's form (16-bit samples in one file).")
        ecg, leads = read_plain(header)
        return Record(line["ecg_id"], patient, ecg, leads, header.hertz, row)


def read_lines(path: Path, needed: Sequence[str], extra: Sequence[str] = ()) -> list[dict[str, str]]:
    """Read these columns of a table, as text."""
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            table = csv.DictReader(file)
            columns = table.fieldnames or []
            if absent := [repr(name) for name in needed if name not in columns]:
                raise ValueError(f"{path} has no column {', '.join(absent)}; found: {', '.join(columns)}.")
            kept = [name for name in (*needed, *extra) if name in columns]
            return [{name: line[name] or "" for name in kept} for line in table]
    except csv.Error as error:
        raise ValueError(f"{path}: not a table of text ({error}).") from error


def title(records: int) -> str:
    """Name the version: the number of records tells it."""
    if records in VERSIONS:
        return f"PTB-XL {VERSIONS[records]}"
    return f"PTB-XL subset of {records:,} records"


def row_of(line: Mapping[str, str]) -> dict[str, Any]:
    """Return what is known of a record besides its statements."""
    age, fold = float(line["age"] or "nan"), line["strat_fold"]
    return {
        "age": OLDEST if age == 300 else age,
        "sex": SEXES.get(whole(line["sex"])),
        "fold": int(whole(fold)) if fold else None,
        "report": line.get("report", ""),
        "site": whole(line.get("site", "")),
        "device": line.get("device", "").strip(),
        "heart_axis": line.get("heart_axis", ""),
        "validated": line.get("validated_by_human", "").strip().lower() == "true",
        "height": float(line.get("height") or "nan"),
        "weight": float(line.get("weight") or "nan"),
        "pacemaker": line.get("pacemaker", "").strip(),
    }


def whole(number: str) -> str:
    """Undo what a column with gaps does to whole numbers: `15709.0` is `15709`."""
    return number.removesuffix(".0")


def labels(cell: str, statements: Statements) -> dict[str, list[str]]:
    """Return the sorted labels of one record in each task; a likelihood of 0 counts like any other."""
    codes = parse_codes(cell)
    known = {code: statements[code] for code in codes if code in statements}
    diagnostic = {code: of for code, of in known.items() if flag(of, "diagnostic")}
    return {
        "all": list(codes),
        "diag": list(diagnostic),
        "subdiag": sorted({of["diagnostic_subclass"] for of in diagnostic.values()} - {""}),
        "superdiag": sorted({of["diagnostic_class"] for of in diagnostic.values()} - {""}),
        "form": [code for code, of in known.items() if flag(of, "form")],
        "rhythm": [code for code, of in known.items() if flag(of, "rhythm")],
    }


def flag(statement: Mapping[str, str], kind: str) -> bool:
    """Is a statement of this kind? The table writes 1.0 or nothing."""
    return whole(statement[kind]) == "1"


@lru_cache(4096)
def parse_codes(cell: str) -> tuple[str, ...]:
    """Return the sorted statements of a cell like `{'NORM': 100.0, 'SR': 0.0}`."""
    try:
        codes = ast.literal_eval(cell)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        codes = None
    if not isinstance(codes, dict) or not all(isinstance(code, str) for code in codes):
        raise ValueError(f"scp_codes is no dictionary of statements: {cell[:60]!r}")
    return tuple(sorted(codes))
