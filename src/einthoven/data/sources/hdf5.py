"""ECGs in HDF5 files: CODE-15 as published (doi:10.5281/zenodo.4916206), or datasets that you name."""

import os
from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from einthoven.data.convert import BROKEN, broken
from einthoven.data.files import checksum
from einthoven.data.tables import guess, lead_list, named, spread, time_first, unit_factor
from einthoven.ecg import LEADS, Record, Source

__all__ = ["HDF5"]

CODE = ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF")  # the statements of CODE-15
CODE_HERTZ = 400.0
EXAMS = "exams.csv"
BLOCK = 16  # records read at once: what is packed in one piece is not unpacked for each record again
ID = "{id}"

Numbers = Shaped[np.ndarray, "..."]


class HDF5(Source):
    """Reads one .hdf5 or .h5 file, or all of a folder.

    Without options: CODE-15, that is `tracings` (record, 4096, 12) at 400 Hz with zeros on both sides,
    which are cut off, `exam_id`, and patients, age, sex and the task `statements` from exams.csv.
    Its units are taken as mV, though its authors' "scale 1e-4 V" and its users' measurements disagree
    (github.com/antonior92/ecg-age-prediction/issues/5): `units` can say otherwise.

    With `hertz`: any file. `signals` names a dataset (record, lead, time) or (record, time, lead) and
    `ids` a dataset of record ids; or `signals="records/{id}/ecg"` names one dataset for each record.
    `units` is "mV", "uV", "V", the millivolts of one unit, or "auto" (by amplitude, or refused).
    """

    def __init__(
        self,
        path: Path,
        *,
        signals: str = "tracings",
        ids: str = "",
        hertz: float | None = None,
        leads: tuple[str, ...] | str = LEADS,
        units: str | float = "auto",
    ):
        path = Path(path)
        self.path = path if path.is_dir() else path.parent
        self.code = hertz is None and signals == "tracings"
        if not self.code and not hertz:
            raise ValueError("hertz is the rate of the files and has to be said, except for CODE-15.")
        self.hertz = CODE_HERTZ if hertz is None else float(hertz)
        self.signals, self.ids = signals, ids or ("exam_id" if self.code else "")
        self.leads = named(lead_list(leads))
        found = (
            [file for file in path.rglob("*") if file.suffix in (".hdf5", ".h5")] if path.is_dir() else [path]
        )
        self.files = tuple(sorted(found))
        if not self.files:
            raise ValueError(f"{path} holds no .hdf5 or .h5 file.")
        self.names = tuple(record_names(file, signals, self.ids) for file in self.files)
        self.ends = tuple(accumulate(map(len, self.names)))
        self.exams = Exams(self.path / EXAMS) if self.code else None
        self.stamp = checksum(self.path / EXAMS) if self.code else ""  # an import tells tables apart by it
        self.title = "CODE-15" if self.code else f"HDF5 records of {path.resolve().name}"
        if not len(self):
            raise ValueError(f"{path} holds no record.")
        self.factor = 1.0 if self.code and units == "auto" else self.decide(units)

    def decide(self, units: str | float) -> float:
        """Return the millivolts of one unit."""
        return guess(map(self.raw, spread(len(self))), self.path) if units == "auto" else unit_factor(units)

    def __len__(self) -> int:
        return self.ends[-1]

    def place(self, index: int) -> tuple[int, int]:
        """Return the number of the file, and the place in it."""
        file = bisect_right(self.ends, index)
        return file, index - (self.ends[file - 1] if file else 0)

    def label(self, index: int) -> str:
        """Name a record by its file and its id."""
        file, place = self.place(index)
        return f"{self.files[file].relative_to(self.path).as_posix()}[{self.names[file][place]}]"

    def raw(self, index: int) -> Float[np.ndarray, "lead time"]:
        """Read one record in the unit of the file."""
        file, place = self.place(index)
        path = self.files[file]
        if ID in self.signals:
            ecg = read_block(path, self.signals.replace(ID, str(self.names[file][place])), None)
        else:
            ecg = read_block(path, self.signals, place // BLOCK)[place % BLOCK]
        ecg = ecg.T if time_first(ecg.shape, len(self.leads), self.label(index)) else ecg
        return np.ascontiguousarray(ecg[list(self.leads.values())], np.float32)

    def read(self, index: int) -> Record:
        """Read one record; outside CODE-15 each record is its own patient."""
        file, place = self.place(index)
        record_id = str(self.names[file][place])
        patient_id, row = self.exams.line(int(record_id)) if self.exams else (record_id, {})
        ecg = self.raw(index) * np.float32(self.factor)
        if self.code:
            ecg = unpadded(ecg, self.label(index))
        return Record(record_id, patient_id, ecg, tuple(self.leads), self.hertz, row)


class Exams:
    """CODE-15's table of exams, by exam_id."""

    def __init__(self, path: Path):
        import pandas as pd

        needed = ["exam_id", "age", "is_male", "patient_id", *CODE]
        try:
            frame = pd.read_csv(path, usecols=lambda name: name in (*needed, "normal_ecg"))
        except OSError as error:
            why = f"cannot be read ({error.strerror}), and CODE-15's patients and labels are in it"
            raise ValueError(f"{path}: {why}; for files in another layout say hertz=.") from error
        if absent := [name for name in needed if name not in frame]:
            raise ValueError(
                f"{path} has no column {', '.join(absent)}; found: {', '.join(map(str, frame))}."
            )
        frame = frame.sort_values("exam_id", ignore_index=True)
        self.path = path
        self.exam = frame["exam_id"].to_numpy(np.int64)
        self.patient = frame["patient_id"].to_numpy(np.int64)
        self.age = frame["age"].to_numpy(np.float32)
        self.flags = frame[["is_male", *CODE]].eq(True).to_numpy(bool)  # a byte each: workers get a copy
        self.unsaid = frame["is_male"].isna().to_numpy(bool)
        self.normal = frame["normal_ecg"].eq(True).to_numpy(bool) if "normal_ecg" in frame else None

    def line(self, exam: int) -> tuple[str, dict[str, Any]]:
        """Return the patient and what else is known of an exam."""
        at = int(np.searchsorted(self.exam, exam))
        if at == len(self.exam) or self.exam[at] != exam:
            raise ValueError(f"{self.path} has no exam_id {exam}.")
        male, *said = self.flags[at].tolist()
        row: dict[str, Any] = {
            "age": float(self.age[at]),
            "sex": None if self.unsaid[at] else "male" if male else "female",
            "statements": sorted(name for name, there in zip(CODE, said, strict=True) if there),
        }
        if self.normal is not None:
            row["normal_ecg"] = bool(self.normal[at])
        return str(self.patient[at]), row


def unpadded(ecg: Float[np.ndarray, "lead time"], label: str) -> Float[np.ndarray, "lead part"]:
    """Cut off the samples at both ends where every lead is exactly 0."""
    alive = np.flatnonzero((ecg != 0).any(axis=0))
    if not len(alive):
        raise ValueError(f"{label}: holds nothing but zeros.")
    return ecg[:, alive[0] : alive[-1] + 1]


def record_names(path: Path, signals: str, ids: str) -> Any:
    """Return the ids of a file's records: those it gives, or their numbers."""
    with opened(path) as file:
        if ID in signals:
            above = signals.partition(ID)[0].rstrip("/")
            return tuple(sorted(inside(file, above) if above else file))
        count = len(numbers(file, signals))
        if not ids:
            return range(count)
        try:
            values = np.asarray(numbers(file, ids)[:]).ravel()  # some store a column, (record, 1)
        except (OSError, RuntimeError) as error:
            raise ValueError(f"{path}: {ids} cannot be read ({error}).") from error
    if len(values) != count:
        raise ValueError(f"{path}: {ids} has {len(values):,} entries for {count:,} records of {signals}.")
    if values.dtype.kind in "iu":
        return values.astype(np.int64)
    return tuple(
        (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)).strip("\0 ")
        for value in values.tolist()
    )


def opened(path: Path) -> Any:
    """Open a file for reading."""
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path}: not a readable HDF5 file ({error}).") from error


def inside(file: Any, name: str) -> Any:
    """Return what a file has under a name, or say what there is instead."""
    if name in file:
        return file[name]
    found: list[str] = []
    file.visit(found.append)
    listed = f"{', '.join(found[:12])}{' ...' if len(found) > 12 else ''}" if found else "nothing"
    raise ValueError(f"{file.filename} has no {name!r}; found: {listed}.")


def numbers(file: Any, name: str) -> Any:
    """Return a dataset with at least one axis."""
    found = inside(file, name)
    if not getattr(found, "shape", ()):
        raise ValueError(f"{file.filename}: {name!r} is no array.")
    return found


@lru_cache(4)
def kept_open(path: Path, process: int) -> Any:
    """Open a file once in each process: HDF5 does not survive a fork."""
    return opened(path)


@lru_cache(2)
def read_block(path: Path, name: str, block: int | None) -> Numbers:
    """Read a block of records, or a whole dataset."""
    values = numbers(kept_open(path, os.getpid()), name)
    where = slice(None) if block is None else slice(block * BLOCK, (block + 1) * BLOCK)
    try:
        return np.asarray(values[where])
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{path}: {name} cannot be read ({error}).") from error
    except BROKEN as error:
        raise ValueError(f"{path}: {name} cannot be read ({broken(error)}).") from error
