"""Distances between vectors that stand for raw ECGs: a learned shortcut, see loss `surrogate`."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from einthoven.types import Distance, Signals
from einthoven.warp.straight import euclidean

__all__ = ["Surrogate"]


class Surrogate(Distance):
    """Euclidean distance between the vectors at `path`: a Parquet file that `einthoven embed` has made."""

    def __init__(self, signals: Signals | None = None, *, path: str = ""):
        self.path = path
        self.vectors: Float[np.ndarray, "record dim"] | None = None
        self.records = signals.records if signals is not None else ()
        if signals is not None:  # in training: what cannot be used is refused before the first step
            self.vectors = read_vectors(path, signals)

    def among(self, rows: Int[np.ndarray, " row"]) -> Float[np.ndarray, "row row"]:
        """Compare the vectors of some rows of the store."""
        if self.vectors is None:
            raise ValueError("A distance between raw ECGs needs the store, which is known in training only.")
        some = self.vectors[rows]
        if (lost := np.isnan(some[:, 0])).any():
            record = self.records[int(rows[lost.argmax()])]
            raise ValueError(f"{self.path} has no vector of record {record!r}: embed the whole store again.")
        return euclidean(some[:, None])


def read_vectors(path: str, signals: Signals) -> Float[np.ndarray, "record dim"]:
    """Read one vector per row of a store, NaN where the file has none."""
    if not path or not Path(path).is_file():
        raise ValueError(
            f"Distance 'surrogate' needs `path`, the vectors of a run of loss 'surrogate': no file {path!r}. "
            "Make it: einthoven embed RUN STORE --which embedding --out FILE.parquet"
        )
    import pandas as pd
    from pyarrow import ArrowInvalid

    try:
        table = pd.read_parquet(path)
    except ArrowInvalid as damage:
        raise ValueError(f"{path} cannot be read: make it again with `einthoven embed`.") from damage
    if "record_id" not in table or table.shape[1] < 3:
        raise ValueError(f"{path} holds no vectors with record ids: make it with `einthoven embed`.")
    numbers = table.drop(columns=["record_id", "patient_id"], errors="ignore").to_numpy(np.float32)
    place = pd.Index(table["record_id"].astype(str)).get_indexer(pd.Index(list(signals.records)))
    if (place < 0).all():
        raise ValueError(f"{path} has vectors of another store: embed this one.")
    return np.where(place[:, None] >= 0, numbers[place], np.float32(np.nan))
