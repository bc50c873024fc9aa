"""LUDB: 200 ECGs whose waves cardiologists marked, so that heart rate and QRS duration are known.

Kalyakulina et al. 2020, doi:10.1109/ACCESS.2020.3029211; the layout is that of PhysioNet, ludb 1.0.1.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from einthoven.data.delineation import heart_rate, qrs_ms, read_complexes
from einthoven.data.tables import read_cells
from einthoven.data.wfdb16 import Header, read_header, read_plain, read_samples
from einthoven.ecg import Record, Source

__all__ = ["LUDB"]

TABLE, FOLDER, MARKED = "ludb.csv", "data", "ii"  # the marks that are used are those of lead II
WHOLE = 200  # records
MICROVOLT = 1000.0  # counts in a millivolt
RHYTHM, AXIS = "Rhythms", "Electric axis of the heart"
# What we call a group of findings -> its column. Each cell lists findings, one in a line.
DISORDERS = {
    "conduction": "Conduction abnormalities",
    "extrasystole": "Extrasystolies",
    "hypertrophy": "Hypertrophies",
    "pacing": "Cardiac pacing",
    "ischemia": "Ischemia",
    "repolarization": "Non-specific repolarization abnormalities",
    "other": "Other states",
}
NEEDED = ("ID", "Sex", "Age", RHYTHM, AXIS, *DISORDERS.values())
NONE = "none"  # the finding of a record for which the table lists none
OLDEST = 90.0  # what we write for ">89", as for PTB-XL


class LUDB(Source):
    """Reads the folder that holds `ludb.csv` and `data/`, or is told that `data/`.

    `heart_rate` (bpm, of the median gap between QRS peaks) and `qrs_ms` (median from onset to offset) are
    those that were marked in lead II, and unknown where no marks lie beside a record. Tasks: `rhythm`;
    `diagnosis`, every other finding as the table writes it; `disorder`, the columns that they stand in.
    A count is a microvolt, whatever the headers say (see `mended`).
    """

    def __init__(self, path: Path):
        self.path = root_of(Path(path))
        self.lines = read_lines(self.path / TABLE)
        folder = self.path / FOLDER
        if not any((folder / f"{line['ID']}.hea").is_file() for line in self.lines):
            raise ValueError(f"{folder} holds none of the {len(self.lines)} records that {TABLE} lists.")
        self.title = "LUDB" if len(self.lines) == WHOLE else f"LUDB subset of {len(self.lines)} records"

    def __len__(self) -> int:
        return len(self.lines)

    def label(self, index: int) -> str:
        """Name a record by its path."""
        return f"{FOLDER}/{self.lines[index]['ID']}"

    def read(self, index: int) -> Record:
        """Read one record, and what was marked in it; each is of a person of its own."""
        line = self.lines[index]
        header = read_header(self.path / f"{self.label(index)}.hea")
        if not header.plain:
            raise ValueError(f"{header.path}: not in LUDB's form (16-bit samples in one file); try wfdb.")
        ecg, leads = read_plain(mended(header))
        row = row_of(line) | measured(header)
        return Record(line["ID"], f"subject-{line['ID']}", ecg, leads, header.hertz, row)


def root_of(path: Path) -> Path:
    """Return the folder that holds the table: `path`, or the one around it."""
    for folder in (path, path.resolve().parent):
        if (folder / TABLE).is_file() and path.is_dir():
            return folder
    inner = next(path.glob(f"*/{TABLE}"), None)
    hint = f" Did you mean {inner.parent}?" if inner else ""
    raise ValueError(f"{path} is no LUDB folder: it has no {TABLE}. One holds {TABLE} and {FOLDER}/.{hint}")


def read_lines(path: Path) -> list[dict[str, str]]:
    """Read the table: a line for each record, each with an id of its own that can name a file."""
    table = read_cells(path, short=False)
    if absent := [repr(name) for name in NEEDED if name not in table.names]:
        raise ValueError(f"{path} has no column {', '.join(absent)}; found: {', '.join(table.names)}.")
    lines = [dict(zip(table.names, row, strict=True)) for row in table.rows]
    if not lines:
        raise ValueError(f"{path} lists no record.")
    seen: set[str] = set()
    for number, line in zip(table.lines, lines, strict=True):
        name = line["ID"]
        if name in seen or not re.fullmatch(r"\w+", name):
            wrong = "stands in it twice; keep one" if name in seen else "is no name of a record; mend it"
            raise ValueError(f"{path}, line {number}: ID {name!r} {wrong}.")
        seen.add(name)
    return lines


def row_of(line: Mapping[str, str]) -> dict[str, Any]:
    """Return what the table says of a record."""
    groups = {name: findings(line[column]) for name, column in DISORDERS.items()}
    listed = sorted({finding for group in groups.values() for finding in group})
    return {
        "age": OLDEST if line["Age"] == ">89" else line["Age"],
        "sex": line["Sex"],
        "rhythm": findings(line[RHYTHM]),
        "diagnosis": listed or [NONE],
        "disorder": [name for name, group in groups.items() if group] or [NONE],
        "axis": line[AXIS].rpartition(":")[2].strip(),
    }


def findings(cell: str) -> Sequence[str]:
    r"""Return the findings of a cell, sorted: one in a line.

    >>> findings("Sinus rhythm\nAtrial flutter, typical")
    ['Atrial flutter, typical', 'Sinus rhythm']
    """
    return sorted({text.strip() for text in cell.splitlines()} - {""})


def mended(header: Header) -> Header:
    """Return the header with the true gain, where what it calls one is just each lead's own range.

    In LUDB 1.0.1 the gain of every lead is its highest count less its lowest, and the baseline its mean:
    read so, each lead spans 1 mV, and II is not I + III. The counts themselves obey that law to the last
    one, so all leads have one gain; that it is a microvolt a count is told by their size, which is that
    of other ECGs. Headers with any other gain are believed.
    """
    ranges = np.ptp(read_samples(header).astype(np.int32), axis=0).tolist()
    moving = [(lead.gain, span) for lead, span in zip(header.leads, ranges, strict=True) if span]
    if not moving or any(gain != span for gain, span in moving):
        return header
    leads = tuple(replace(lead, gain=MICROVOLT, baseline=0, units="mV") for lead in header.leads)
    return replace(header, leads=leads)


def measured(header: Header) -> dict[str, float]:
    """Return heart rate and QRS duration as they were marked; NaN where no marks are there."""
    path = header.path.with_suffix(f".{MARKED}")
    marked = read_complexes(path, header.samples) if path.is_file() else []
    return {"heart_rate": heart_rate(marked, header.hertz), "qrs_ms": qrs_ms(marked, header.hertz)}
