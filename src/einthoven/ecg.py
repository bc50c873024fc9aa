"""The nouns that need no torch: lead names, a signal's description, one record, a source of records.

Importing, drawing and scoring ECGs stay light because they stop at this floor.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float, Int

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

_KNOWN = {name.lower(): name for name in LEADS}
# A minus is polarity (-aVR) or a difference (I-II), save within one name (V-1, a-VR).
_SPELLING = re.compile(
    r"(?:mdc_ecg_lead_|ecg[ ._]+|lead[ ._]*|ecg-|lead-)*(i{1,3}|a[ ._-]?v[ ._-]?[rlf]|v[ ._-]?[1-6])[ ._]*"
)


def lead_name(text: str) -> str | None:
    """Return the standard name of a lead in any usual spelling, or None if it is none of the twelve.

    An inverted lead (`-aVR`) and the difference of two (`I-II`) are none of them.

    >>> lead_name("AVR"), lead_name("Lead I"), lead_name("MDC_ECG_LEAD_V1"), lead_name("-aVR")
    ('aVR', 'I', 'V1', None)
    """
    match = _SPELLING.fullmatch(text.replace("\0", "").strip().lower())
    return _KNOWN[re.sub(r"[ ._-]", "", match[1])] if match else None


@dataclass(frozen=True)
class Signal:
    """What a model was built for. Saved with the weights, and compared when they are loaded.

    `seconds` is what the backbone reads; a record may be longer. `band` (low, high) in Hz is
    filtered before any crop. `scale` is how the backbone brings millivolts to its own unit:
    not at all, by each crop's own mean and sd, by (mean, sd) in mV, or `train`: by the mean and
    sd of the training fold, which then stand here as numbers.
    """

    leads: tuple[str, ...] = LEADS
    hertz: float = 100.0
    seconds: float = 10.0
    band: tuple[float, float] | None = None
    scale: Literal["none", "crop", "train"] | tuple[float, float] = "none"
    subset: bool = False  # may a record lack some of the leads?

    def __post_init__(self) -> None:
        for lead in self.leads:
            if lead not in LEADS:
                near = lead_name(lead)
                hint = f" Did you mean {near!r}?" if near else ""
                raise ValueError(f"[signal] leads: {lead!r} is not one of {', '.join(LEADS)}.{hint}")
        if self.hertz <= 0 or self.seconds <= 0 or self.samples < 1:
            raise ValueError(f"[signal] needs hertz and seconds above 0, got {self.hertz}, {self.seconds}.")
        if self.band and not 0 < self.band[0] < self.band[1] < self.hertz / 2:
            raise ValueError(
                f"[signal] band {list(self.band)} must rise and lie within 0 to {self.hertz / 2:g} Hz."
            )

    @property
    def samples(self) -> int:
        """Length of the time axis."""
        return round(self.hertz * self.seconds)


@dataclass(frozen=True)
class Record:
    """One ECG as a source reads it: float32 millivolts, at the rate and in the leads of the file.

    NaN marks samples that the file does not have. `row` holds what else is known: `age` (years),
    `sex` ("female", "male"), `fold` (1 and up), `report`, any numeric or text column, and a list of
    statements for each multi-label task, under the task's name (`superdiag`: ["MI", "CD"]).
    """

    record_id: str
    patient_id: str
    signal: Float[np.ndarray, "lead time"]
    leads: tuple[str, ...]
    hertz: float
    row: Mapping[str, Any] = field(default_factory=dict)


class Source(ABC):
    """Reads one layout of ECG files. Record number `index` is the same on every machine.

    The constructor takes the path first and options after the star; it lists, checks and refuses
    (ValueError) but reads no signals. Sources are pickled to workers: keep them small.
    """

    kind: ClassVar[str] = "sources"
    synthetic: ClassVar[bool] = False  # are its ECGs made up?
    rates: ClassVar[bool] = False  # does its option `hertz` choose among several rates?
    title: str = ""  # what it reads and in which version, for people: "PTB-XL 1.0.3"

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of records."""

    @abstractmethod
    def label(self, index: int) -> str:
        """Name record `index` for people, without reading it: its id or its path."""

    @abstractmethod
    def read(self, index: int) -> Record:
        """Read one record, or raise ValueError with the reason it cannot be read."""

    def read_many(self, start: int, stop: int) -> Iterator[Record | ValueError]:
        """Read a range, a reason in the place of what cannot be read; faster where the layout allows."""
        for index in range(start, stop):
            try:
                yield self.read(index)
            except ValueError as reason:
                yield reason


class Signals(ABC):
    """Whole raw ECGs by their row in a store, without crop, augmentation or scaling."""

    fingerprint: str  # of the store: what is remembered of one store is of no use on another
    records: Sequence[str]  # record ids, in the order of rows

    @abstractmethod
    def read(self, rows: Int[np.ndarray, " row"], hertz: float) -> Float[np.ndarray, "row lead time"]:
        """Return float32 mV at a rate; padding and absent leads are zero."""
