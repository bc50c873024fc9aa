"""What rules measure beside what a network learned: hand-made features in every token."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from einthoven.rhythm import LOWEST, NAMES
from einthoven.rhythm import features as rhythm_features
from einthoven.types import Backbone, Signal, Tokens
from einthoven.wavelet import features_of_a_lead, wavelet_features

__all__ = ["Hybrid"]

# What is usual, and a spread; of r_mv and st_mv where the scale divides by 1 mV.
UNITS = {
    "heart_rate": (70.0, 15.0),
    "sdnn_ms": (40.0, 40.0),
    "rmssd_ms": (40.0, 40.0),
    "r_mv": (0.0, 1.0),
    "st_mv": (0.0, 0.1),
    "qrs_ms": (95.0, 15.0),
    "beats": (0.0, 5.0),
}
GAP = 0.3  # s of exact zeros: no electrode is so quiet for so long
USUAL, SPREAD = np.array([UNITS[name] for name in NAMES]).T


class Hybrid(Backbone):
    """Append `features` of the same window to every token of `inner`; without one they are the only token.

    "rhythm": the seven of `einthoven.rhythm`, and for each whether it is unknown (then it is 0). "wavelet":
    the statistics of `einthoven.wavelet`. Units are fixed, so that no ECG is needed to know them and records
    stay apart: asinh((x - usual) / spread), and asinh(x) of wavelet statistics. Amplitudes are in units of
    [signal] scale, like all that a network reads: of its sd, if it has one. A rule has no gradient; it runs
    on the CPU, 2 ms for 10 s of twelve leads.
    """

    def __init__(
        self,
        wants: Signal,
        *,
        inner: Backbone | None = None,
        features: Sequence[Literal["rhythm", "wavelet"]] = ("rhythm",),
    ):
        super().__init__()
        if not features or len(set(features)) < len(features):
            raise ValueError(f"Backbone 'hybrid' needs features, each once; got {list(features)}.")
        if "rhythm" in features and wants.hertz < LOWEST:
            raise ValueError(
                f"Backbone 'hybrid' reads rhythm from {LOWEST:g} Hz up; [signal] hertz = {wants.hertz:g}."
            )
        self.wants, self.inner, self.features = wants, inner, tuple(features)
        self.bound = inner.bound if inner else ()  # rules have no weights
        widths = {"rhythm": 2 * len(NAMES), "wavelet": len(wants.leads) * features_of_a_lead()}
        self.dim = sum(widths[name] for name in self.features) + (inner.dim if inner else 0)

    def forward(
        self, ecg: Float[Tensor, "batch lead time"], leads: Int[Tensor, "batch lead"] | None = None
    ) -> Tokens:
        """Encode."""
        told = self.measured(ecg, leads)[:, None]
        if self.inner is None:
            return Tokens(told)
        tokens: Tokens = self.inner(ecg, leads)
        special = None if tokens.special is None else beside(tokens.special, told)
        return tokens._replace(values=beside(tokens.values, told), special=special)

    @torch.no_grad()
    def measured(
        self, ecg: Float[Tensor, "batch lead time"], leads: Int[Tensor, "batch lead"] | None
    ) -> Float[Tensor, "batch feature"]:
        """Measure each ECG by rules, in float32 whatever the network computes in."""
        with torch.autocast(ecg.device.type, enabled=False):
            measures = {"rhythm": self.rhythm, "wavelet": self.wavelet}
            told = [measures[name](ecg.float(), leads) for name in self.features]
        return torch.from_numpy(np.concatenate(told, axis=1, dtype=np.float32)).to(ecg.device)

    def rhythm(
        self, ecg: Float[Tensor, "batch lead time"], leads: Int[Tensor, "batch lead"] | None
    ) -> Float[np.ndarray, "batch feature"]:
        """Measure in millivolts, where padding and absent leads are 0; only then scale the amplitudes."""
        ordered = without_gaps(self.ordered(ecg, leads)[0].cpu().numpy(), self.wants.hertz)
        told = rhythm_features(ordered, self.wants.hertz, leads=self.wants.leads)
        if isinstance(self.wants.scale, tuple):
            told[:, [NAMES.index("r_mv"), NAMES.index("st_mv")]] /= self.wants.scale[1]
        told = np.arcsinh((told - USUAL) / SPREAD)
        unknown = np.isnan(told)
        return np.concatenate([np.where(unknown, 0, told), unknown], axis=1)

    def wavelet(
        self, ecg: Float[Tensor, "batch lead time"], leads: Int[Tensor, "batch lead"] | None
    ) -> Float[np.ndarray, "batch feature"]:
        """Tell the scaled ECG by statistics; those of an absent lead are 0."""
        return np.asarray(np.arcsinh(wavelet_features(self.admit(ecg, leads).cpu().numpy())))


def without_gaps(ecg: Float[np.ndarray, "row lead time"], hertz: float) -> Float[np.ndarray, "row lead time"]:
    """Mark what is missing as NaN: stretches of exact zeros; a lead of nothing else is absent, and stays."""
    zero, least = ecg == 0, max(2, round(GAP * hertz))
    if ecg.shape[2] < least:
        return ecg
    whole = sliding_window_view(zero, least, axis=2).all(3)
    inside = np.zeros(zero.shape, bool)
    for shift in range(least):
        inside[..., shift : shift + whole.shape[2]] |= whole
    return np.where(inside & ~zero.all(2, keepdims=True), np.float32(np.nan), ecg)


def beside(
    tokens: Float[Tensor, "batch token dim"], told: Float[Tensor, "batch 1 feature"]
) -> Float[Tensor, "batch token wider"]:
    """Put the same features beside every token."""
    return torch.cat([tokens, told.expand(-1, tokens.shape[1], -1)], 2)
