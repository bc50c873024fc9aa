"""Whole raw ECGs of a store, for what compares signals rather than learns from crops."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from einthoven.data.signal import prepare_many
from einthoven.data.store import Store
from einthoven.ecg import Signal, Signals


class Whole(Signals):
    """Reads rows of a store at any rate, in all leads of the store."""

    def __init__(self, store: Store):
        self.store, self.fingerprint = store, store.fingerprint
        self.stops = store.records["stop"].to_numpy(dtype=np.int64)

    @property
    def records(self) -> Sequence[str]:  # type: ignore[override]
        """The record ids, by row."""
        ids: list[str] = self.store.records["record_id"].astype(str).tolist()
        return ids

    def read(self, rows: Int[np.ndarray, " row"], hertz: float) -> Float[np.ndarray, "row lead time"]:
        """Return float32 mV at a rate; padding and absent leads are zero."""
        store = self.store
        wants = Signal(leads=store.leads, hertz=hertz, seconds=store.seconds)
        return prepare_many(store.read(rows), store.leads, store.hertz, wants, stops=self.stops[rows])
