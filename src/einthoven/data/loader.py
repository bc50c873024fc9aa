"""From a store to batches. Batch number n is a pure function of (seed, n), so there is nothing to save."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import count

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped

from einthoven.data.signal import prepare_many
from einthoven.data.store import Store
from einthoven.data.task import numbers
from einthoven.ecg import LEADS, Signal
from einthoven.types import Batch, Sampler

Progress = Callable[[int, int], None]  # hears of records that are done, and of all


def unheard(done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Reader:
    """Reads any rows of a store, at any place, in the form that a model wants."""

    store: Store
    wants: Signal
    targets: Float[np.ndarray, "record label"] | None = None  # for every row of the store
    columns: Sequence[str] = ()
    texts: Sequence[str] | None = None  # what the policy lets through of each row's report

    @cached_property
    def patients(self) -> Int[np.ndarray, " record"]:
        """The patient of each row, as a number."""
        names = self.store.records["patient_id"].to_numpy(dtype=object).astype(str)
        return np.unique(names, return_inverse=True)[1].astype(np.int64)

    @cached_property
    def span(self) -> Int[np.ndarray, "record 2"]:
        """Where the ECG of each row starts and stops, in samples of the store."""
        return self.store.records[["start", "stop"]].to_numpy(dtype=np.int64)

    @cached_property
    def absent(self) -> Shaped[np.ndarray, " record"]:
        """The leads that each row lacks, by name."""
        return self.store.records["absent"].to_numpy(dtype=object)

    @cached_property
    def values(self) -> dict[str, Float[np.ndarray, " record"]]:
        """The columns that losses and miners read; NaN where unknown."""
        return {name: numbers(self.store.records[name]) for name in self.columns}

    @property
    def as_stored(self) -> bool:
        """Say whether the store's samples can be used as they are."""
        return self.store.hertz == self.wants.hertz and self.wants.band is None

    def spans(self, rows: Int[np.ndarray, " row"]) -> tuple[np.ndarray, np.ndarray]:
        """Return where the ECG of each row starts and ends, in samples of the model."""
        ratio = self.wants.hertz / self.store.hertz
        span = self.span[rows]
        return np.ceil(span[:, 0] * ratio).astype(np.int64), np.floor(span[:, 1] * ratio).astype(np.int64)

    def lacks_leads(self, rows: Int[np.ndarray, " row"]) -> Bool[np.ndarray, " row"]:
        """Say which rows lack a lead that the model reads."""
        wanted = set(self.wants.leads)
        return np.array([bool(wanted & set(gone.split())) for gone in self.absent[rows]], dtype=bool)

    def long_enough(self, rows: Int[np.ndarray, " row"]) -> Bool[np.ndarray, " row"]:
        """Say which rows last as long as the model reads."""
        start, stop = self.spans(rows)
        return np.asarray(stop - start >= self.wants.samples)

    def ecg(
        self, rows: Int[np.ndarray, " row"], starts: Int[np.ndarray, " row"], samples: int
    ) -> Float[np.ndarray, "row lead samples"]:
        """Read one window of each row: float32 mV, the wanted leads in the wanted order."""
        if self.as_stored:
            cut = self.store.crop(rows, starts, samples)
            if self.store.leads == self.wants.leads:
                return cut
            return cut[:, [self.store.leads.index(lead) for lead in self.wants.leads]]
        some, place = np.unique(rows, return_inverse=True)
        whole = self.whole(some)
        return np.stack([whole[p, :, s : s + samples] for p, s in zip(place, starts, strict=True)])

    def whole(self, rows: Int[np.ndarray, " row"]) -> Float[np.ndarray, "row lead time"]:
        """Read whole ECGs as the model wants them."""
        store, stops = self.store, self.span[rows, 1]
        return prepare_many(store.read(rows), store.leads, store.hertz, self.wants, stops=stops)

    def batch(self, rows: Int[np.ndarray, " row"], starts: Int[np.ndarray, " row"], samples: int) -> Batch:
        """Read one batch."""
        return Batch(
            ecg=torch.from_numpy(self.ecg(rows, starts, samples)),
            row=torch.from_numpy(rows),
            patient=torch.from_numpy(self.patients[rows]),
            leads=self.leads(rows),
            target=None if self.targets is None else torch.from_numpy(self.targets[rows]),
            text=None if self.texts is None else tuple(self.texts[row] for row in rows),
            columns={name: torch.from_numpy(column[rows]) for name, column in self.values.items()},
        )

    def leads(self, rows: Int[np.ndarray, " row"]) -> torch.Tensor | None:
        """Name the leads of each row if some may be absent; None is the fast path."""
        absent = self.absent[rows]
        if not self.wants.subset or not any(absent):
            return None
        named = [
            [-1 if lead in gone.split() else LEADS.index(lead) for lead in self.wants.leads]
            for gone in absent
        ]
        return torch.tensor(named)


@dataclass(frozen=True)
class Loader:
    """Reads `window` samples at a random place of each record that a sampler plans for a step.

    The rows of a step are cut into equal `parts`, each a batch; `mine` are those that this process reads. The
    places are drawn for the whole step, so that they do not depend on who reads what.
    """

    reader: Reader
    sampler: Sampler
    seed: int
    window: int
    parts: int = 1
    mine: Sequence[int] = (0,)

    def __post_init__(self) -> None:
        """Refuse parts that are not equal, or that cut what a sampler puts side by side."""
        if self.parts > 1:
            rows, whole = plan(self.sampler, 0).shape[1], getattr(self.sampler, "records", 1)
            if rows % (self.parts * whole) or rows < 2 * self.parts * whole:
                together = f", with {whole} for each patient" if whole > 1 else ""
                raise ValueError(
                    f"A step reads {rows} records here (no more than there are), which cannot be dealt in "
                    f"{self.parts} equal batches of two or more{together}: "
                    "change [train] batch or accumulate, or the number of processes."
                )

    def stream(self, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of this process from step `start`, without end."""
        return map(self.__getitem__, count(start * len(self.mine)))

    def __getitem__(self, number: int) -> Batch:
        """Return batch number `number` of this process."""
        step, turn = divmod(number, len(self.mine))
        epoch, place = divmod(step, self.sampler.steps)
        rows = plan(self.sampler, epoch)[place]
        first, end = self.reader.spans(rows)
        places = np.maximum(end - first - self.window, 0) + 1
        starts = first + np.random.default_rng((self.seed, step)).integers(0, places)
        size = len(rows) // self.parts
        part = slice(self.mine[turn] * size, (self.mine[turn] + 1) * size)
        return self.reader.batch(rows[part], starts[part], self.window)


@lru_cache(maxsize=2)
def plan(sampler: Sampler, epoch: int) -> Int[np.ndarray, "step batch"]:
    """Remember the plan of this epoch."""
    return sampler.plan(epoch).numpy()


@dataclass(frozen=True)
class Windows:
    """Overlapping windows over whole records, for use: the last one ends where the ECG ends."""

    reader: Reader
    stride: float  # seconds
    told: Callable[[int], None] = lambda records: None  # hears of records that are done, so many more

    def of(self, start: int, stop: int) -> list[int]:
        """Return where the windows of one record start."""
        samples, hop = self.reader.wants.samples, max(1, round(self.stride * self.reader.wants.hertz))
        last = max(stop - samples, start)
        return sorted({*range(start, last + 1, hop), last})

    def batches(self, rows: Int[np.ndarray, " row"], size: int = 256) -> Iterator[tuple[np.ndarray, Batch]]:
        """Yield (place in `rows` of each window, windows); no more than about `size` windows at once."""
        for block in range(0, len(rows), size):
            spans = zip(*self.reader.spans(rows[block : block + size]), strict=True)
            cuts = [(place, s) for place, span in enumerate(spans, block) for s in self.of(*map(int, span))]
            done = block
            for first in range(0, len(cuts), size):
                place, starts = np.array(cuts[first : first + size]).T
                yield place, self.reader.batch(rows[place], starts, self.reader.wants.samples)
                ends = cuts[first + size][0] if first + size < len(cuts) else min(block + size, len(rows))
                self.told(ends - done)
                done = ends


def counted(progress: Progress, total: int) -> Callable[[int], None]:
    """Return what is told of so many more records, and tells `progress` of all that are done.

    >>> more = counted(lambda done, total: print(done, "of", total), 5)
    >>> more(3); more(2)
    3 of 5
    5 of 5
    """
    done = 0

    def more(records: int) -> None:
        nonlocal done
        done += records
        progress(done, total)

    return more
