"""Remember distances by row of the store, so that only new pairs cost anything."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from einthoven.ecg import Signals

MOST = 8192  # records of a store whose distances all fit into memory (256 MB)

Compare = Callable[
    [Float[np.ndarray, "record lead time"], Bool[np.ndarray, "record record"]],
    Float[np.ndarray, "record record"],
]


class Memo:
    """The distances between the rows met so far.

    `compare` gets ECGs and which of their pairs are missing, and answers at least those. In a larger
    store nothing is remembered.
    """

    def __init__(self, signals: Signals | None, hertz: float, compare: Compare):
        if hertz <= 0:
            raise ValueError(f"A distance compares ECGs at a rate above 0 Hz, got hertz = {hertz:g}.")
        self.signals, self.hertz, self.compare = signals, hertz, compare
        self.count = 0 if signals is None else len(signals.records)  # once: a store lists millions slowly
        self.place: Int[np.ndarray, " record"] | None = None  # of each row in the table, -1: not met
        self.table = np.full((0, 0), np.nan, np.float32)
        self.met = 0

    def among(self, rows: Int[np.ndarray, " row"]) -> Float[np.ndarray, "row row"]:
        """Return the distances between rows of the store; a row may be asked for twice."""
        if self.signals is None:
            raise ValueError("A distance between raw ECGs needs the store, which is known in training only.")
        few, back = np.unique(rows, return_inverse=True)
        if self.count > MOST:
            known = self.computed(few, np.full((len(few), len(few)), np.nan, np.float32))
        else:
            places = self.places(few)
            known = self.computed(few, self.table[np.ix_(places, places)])
            self.table[np.ix_(places, places)] = known
        return known[np.ix_(back, back)]

    def computed(
        self, rows: Int[np.ndarray, " row"], known: Float[np.ndarray, "row row"]
    ) -> Float[np.ndarray, "row row"]:
        """Compute what is not known yet (NaN), and read only the ECGs that it takes."""
        assert self.signals is not None
        np.fill_diagonal(known, 0)
        lacking = np.flatnonzero(np.isnan(known).any(1))
        if len(lacking):
            part = np.ix_(lacking, lacking)
            missing = np.isnan(known[part])
            new = self.compare(self.signals.read(rows[lacking], self.hertz), missing)
            known[part] = np.where(missing, new, known[part])
        return known

    def places(self, rows: Int[np.ndarray, " row"]) -> Int[np.ndarray, " row"]:
        """Return where rows stand in the table, which grows with those not met before."""
        if self.place is None:
            self.place = np.full(self.count, -1)
        new = rows[self.place[rows] < 0]
        self.place[new] = self.met + np.arange(len(new))
        self.met += len(new)
        if self.met > len(self.table):
            size = min(len(self.place), max(self.met, 2 * len(self.table)))
            grown = np.full((size, size), np.nan, np.float32)
            grown[: len(self.table), : len(self.table)] = self.table
            self.table = grown
        places: Int[np.ndarray, " row"] = self.place[rows]
        return places
