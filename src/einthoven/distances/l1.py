"""Mean absolute difference between raw ECGs, sample by sample."""

import numpy as np
from jaxtyping import Bool, Float, Int

from einthoven.types import Distance, Signals
from einthoven.warp.memo import Memo
from einthoven.warp.straight import mean_absolute

__all__ = ["L1"]


class L1(Distance):
    """The mean absolute difference over leads and samples (mV) at a rate of `hertz`."""

    def __init__(self, signals: Signals | None = None, *, hertz: float = 25.0):
        self.hertz = hertz
        self.memo = Memo(signals, hertz, self.compare)

    def among(self, rows: Int[np.ndarray, " row"]) -> Float[np.ndarray, "row row"]:
        """Compare some rows of the store (mV); pairs that were asked for before cost nothing."""
        return self.memo.among(rows)

    def compare(
        self, ecg: Float[np.ndarray, "record lead time"], missing: Bool[np.ndarray, "record record"]
    ) -> Float[np.ndarray, "record record"]:
        """Compute the missing pairs."""
        return mean_absolute(ecg, missing)
