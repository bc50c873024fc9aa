"""Distances that were computed before, from a folder."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from einthoven.types import Distance, Signals
from einthoven.warp.matrix import Matrix, read_matrix

__all__ = ["Precomputed"]


class Precomputed(Distance):
    """Distances between records of this store that `einthoven distances` has left in the folder `path`."""

    def __init__(self, signals: Signals | None = None, *, path: str = ""):
        self.signals, self.path = signals, path
        self.matrix: Matrix | None = None
        if signals is not None:  # in training: what cannot be used is refused before the first step
            if not path:
                raise ValueError(
                    "Distance 'precomputed' needs `path`, a folder made by `einthoven distances`."
                )
            self.matrix = read_matrix(Path(path), signals)

    def among(self, rows: Int[np.ndarray, " row"]) -> Float[np.ndarray, "row row"]:
        """Look up the distances between some rows of the store."""
        if self.matrix is None or self.signals is None:
            raise ValueError("A distance between raw ECGs needs the store, which is known in training only.")
        places = self.matrix.place[rows]
        if (places < 0).any():
            record = self.signals.records[int(rows[places < 0][0])]
            raise ValueError(
                f"{self.path} has no distances of record {record!r}: make them anew by `einthoven distances`."
            )
        return np.array(self.matrix.table[np.ix_(places, places)])
