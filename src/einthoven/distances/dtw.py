"""Dynamic time warping between raw ECGs: all leads bend time together, within a band.

Sakoe & Chiba 1978, doi:10.1109/TASSP.1978.1163055; for several leads the dependent form, in which one path
serves all of them (Shokoohi-Yekta et al. 2017, doi:10.1007/s10618-016-0455-0).
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from einthoven.types import Distance, Signals
from einthoven.warp.kernel import Ecgs
from einthoven.warp.kernel import pairwise as pairwise
from einthoven.warp.memo import Memo
from einthoven.warp.missing import fill
from einthoven.warp.neighbours import neighbours as neighbours

__all__ = ["DTW"]


class DTW(Distance):
    """The least root of summed squared differences (mV) over all ways to bend time by at most `band` seconds.

    `hertz`: the rate at which ECGs are compared; the cost grows with its square. `band` None: time bends
    at will. `device`: "cpu" compares by compiled loops, anything else by torch there ("cuda").
    """

    def __init__(
        self,
        signals: Signals | None = None,
        *,
        hertz: float = 25.0,
        band: float | None = 0.25,
        device: str = "cpu",
    ):
        if band is not None and band < 0:
            raise ValueError(f"A band of DTW is a number of seconds from 0, got {band:g}.")
        self.hertz, self.band, self.device = hertz, band, device
        self.memo = Memo(signals, hertz, self.compare)

    def among(self, rows: Int[np.ndarray, " row"]) -> Float[np.ndarray, "row row"]:
        """Compare some rows of the store (mV); pairs that were asked for before cost nothing."""
        return self.memo.among(rows)

    def compare(
        self, ecg: Ecgs, missing: Bool[np.ndarray, "record record"]
    ) -> Float[np.ndarray, "record record"]:
        """Compute the missing pairs."""
        band = None if self.band is None else round(self.band * self.hertz)
        if self.device == "cpu":
            return fill(ecg, missing, band=band)
        import torch

        from einthoven.warp.tensor import pairs

        first, second = np.nonzero(np.triu(missing, 1))
        out = np.zeros(missing.shape, np.float32)
        where = torch.device(self.device)
        given = (torch.from_numpy(np.ascontiguousarray(table)).to(where) for table in (ecg, first, second))
        out[first, second] = pairs(*given, band=band).cpu().numpy()
        return out + out.T
