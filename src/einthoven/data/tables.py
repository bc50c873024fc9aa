"""What sources of bare numbers share: a table of the records, units told or guessed, axes."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from einthoven.data.convert import plain, tidy
from einthoven.data.files import checksum
from einthoven.data.signal import places
from einthoven.data.wfdb16 import millivolts

PATHS = ("path", "file", "filename")
LOOKED_AT = 16  # records that `units = "auto"` looks at
# Range of an ECG's middle lead in each unit. Between these lies doubt: counts of a converter, mostly.
SPANS = {"V": (1e-4, 2e-2), "mV": (0.1, 20.0), "uV": (300.0, 2e4)}


class Table:
    """A CSV file with a line for each record: who it is of and what else is known."""

    def __init__(self, path: Path):
        import pandas as pd

        self.path = path
        try:
            names = pd.read_csv(path, nrows=0).columns
            text = {
                name: str for name in names if name.strip().lower() in ("record_id", "patient_id", *PATHS)
            }
            self.frame = pd.read_csv(path, dtype=text)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{path}: cannot be read as a table ({' '.join(str(error).split())})."
            ) from error
        known = ("record_id", "patient_id", "age", "sex", "fold", "report", *PATHS)
        lower = {name: name.strip().lower() for name in names}
        self.stamp = checksum(path)
        self.frame = self.frame.rename(columns={name: low for name, low in lower.items() if low in known})

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
                return tuple(self.frame[name].fillna("").astype(str))
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
