"""ECGs in CSV files, one file each, a column a lead."""

from pathlib import Path

import numpy as np

from einthoven.data.sheet import Sheet, read_sheet
from einthoven.data.tables import PATHS, Table, guess, lead_list, spread, unit_factor
from einthoven.ecg import Record, Source

__all__ = ["CSV"]


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

    def sheet(self, index: int) -> Sheet:
        """Read the numbers of one file."""
        return read_sheet(self.path / self.files[index], self.leads, self.hertz)

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
