"""ECGs in NumPy files: one array of many records, or a folder of arrays."""

import struct
import zipfile
from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from einthoven.data.convert import BROKEN, broken
from einthoven.data.tables import Table, guess, lead_list, named, spread, time_first, unit_factor
from einthoven.ecg import LEADS, Record, Source

__all__ = ["NumPy"]

UNPACKED = 2**30  # bytes of a compressed array that we are willing to hold in memory

Numbers = Shaped[np.ndarray, "..."]


class NumPy(Source):
    """Reads an .npy (memory-mapped) or .npz file, or every .npy file in or below a folder.

    An array is (record, lead, time) or (record, time, lead), or one record without the first axis;
    the axis as long as `leads` holds them. `hertz` is the rate of the files. `units` is "mV", "uV",
    "V", the millivolts of one unit, or "auto": the amplitude of some records decides, and is refused
    where it leaves a doubt. `array` names the array of an .npz that has several. `table` is a CSV
    file with a line for each record in their order: record_id, patient_id, age, sex, fold, report
    and any other column; without it each record is its own patient.
    """

    def __init__(
        self,
        path: Path,
        *,
        hertz: float,
        leads: tuple[str, ...] | str = LEADS,
        units: str | float = "auto",
        array: str = "",
        table: str = "",
    ):
        path = Path(path)
        if hertz <= 0:
            raise ValueError(f"hertz is the rate of the files, above 0; got {hertz:g}.")
        self.hertz, self.array, leads = float(hertz), array, lead_list(leads)
        self.leads = named(leads)
        self.path = path if path.is_dir() else path.parent
        self.files = tuple(sorted(path.rglob("*.npy"))) if path.is_dir() else (path,)
        if not self.files:
            raise ValueError(f"{path} holds no .npy file.")
        shapes = [mapped(file, array).shape for file in self.files]
        self.turned = tuple(
            time_first(shape, len(leads), file) for shape, file in zip(shapes, self.files, strict=True)
        )
        self.ends = tuple(accumulate(shape[0] if len(shape) == 3 else 1 for shape in shapes))
        self.table = Table.beside(self.path, table) if table else None
        self.stamp = self.table.stamp if self.table else ""  # an import tells tables apart by it
        if self.table and len(self.table) != len(self):
            raise ValueError(f"{self.table.path} has {len(self.table):,} lines for {len(self):,} records.")
        some = spread(len(self))
        self.factor = guess(map(self.raw, some), path) if units == "auto" else unit_factor(units)
        self.title = f"NumPy records of {path.resolve().name}"

    def __len__(self) -> int:
        return self.ends[-1]

    def place(self, index: int) -> tuple[int, int]:
        """Return the number of the file, and the place in it."""
        file = bisect_right(self.ends, index)
        return file, index - (self.ends[file - 1] if file else 0)

    def label(self, index: int) -> str:
        """Name a record by its file, and its place there if that holds several."""
        file, place = self.place(index)
        name = self.files[file].relative_to(self.path).with_suffix("").as_posix()
        return f"{name}[{place}]" if self.ends[file] - index + place > 1 else name

    def raw(self, index: int) -> Float[np.ndarray, "lead time"]:
        """Read one record in the unit of the file."""
        file, place = self.place(index)
        array = mapped(self.files[file], self.array)
        ecg = array[place] if array.ndim == 3 else array
        ecg = ecg.T if self.turned[file] else ecg
        return np.ascontiguousarray(ecg[list(self.leads.values())], np.float32)

    def read(self, index: int) -> Record:
        """Read one record; without a table its id is its number, or its file's name in a folder."""
        record_id, patient_id, row = self.table.line(index) if self.table else ("", "", {})
        record_id = record_id or (str(index) if len(self.files) == 1 else self.label(index))
        ecg = self.raw(index) * np.float32(self.factor)
        return Record(record_id, patient_id or record_id, ecg, tuple(self.leads), self.hertz, row)


@lru_cache(8)
def mapped(path: Path, array: str) -> Numbers:
    """Open an array, leaving its numbers on the disk where the file allows."""
    try:
        loaded = member(path, array) if path.suffix == ".npz" else np.load(path, "r", allow_pickle=False)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a readable NumPy array ({error}).") from error
    except BROKEN as error:
        raise ValueError(f"{path}: not a readable NumPy array ({broken(error)}).") from error
    if not isinstance(loaded, np.ndarray) or loaded.dtype.kind not in "fiu":
        raise ValueError(f"{path}: holds no array of numbers.")
    return loaded


def member(path: Path, array: str) -> Numbers:
    """Map one array of an .npz; a compressed one has to be unpacked whole."""
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        array = names[0] if len(names) == 1 and not array else array
        if array not in names:
            raise ValueError(f"say which with array=; it has {', '.join(names)}")
        info = archive.getinfo(f"{array}.npy")
        with archive.open(info) as file:
            if info.compress_type == zipfile.ZIP_STORED:
                return stored(path, info.header_offset, file)
            if info.file_size > UNPACKED:
                raise ValueError("too large to unpack; save it with np.save or np.savez")
            return np.lib.format.read_array(file, allow_pickle=False)


def stored(path: Path, entry: int, file: Any) -> Numbers:
    """Map an array that lies unpacked in a zip file whose entry for it begins at byte `entry`."""
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = header(file)
    if dtype.hasobject:
        raise ValueError("it holds objects")
    with path.open("rb") as raw:  # the entry: 30 bytes, of which the last 4 say how long two texts are
        raw.seek(entry + 26)
        start = entry + 30 + sum(struct.unpack("<HH", raw.read(4)))
    return np.memmap(path, dtype, "r", start + file.tell(), shape, "F" if fortran else "C")
