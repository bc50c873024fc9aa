"""Bring any ECG into a stated form, or refuse with the reason: for import, training and use alike."""

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from einthoven.ecg import LEADS, Record, Signal, lead_name

# Einthoven (III) and Goldberger (the augmented leads): each as so much of I and so much of II.
LIMB = {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}


class Arranged(NamedTuple):
    """Twelve leads in the order of LEADS; those that are not `present` are 0."""

    signal: Float[np.ndarray, "12 time"]
    present: Bool[np.ndarray, " 12"]  # in the file, or derived
    derived: tuple[str, ...]


class Prepared(NamedTuple):
    """An ECG in the form that a model wants; `absent` leads are 0."""

    signal: Float[np.ndarray, "lead time"]
    absent: tuple[str, ...]


@lru_cache(maxsize=64)
def places(names: tuple[str, ...]) -> dict[str, int]:
    """Find the standard leads among the names of a file; other channels (`Pleth`) are left out.

    >>> places(("Lead II", "Pleth", "AVR"))
    {'II': 0, 'aVR': 2}
    """
    found: dict[str, int] = {}
    for place, name in enumerate(names):
        lead = lead_name(name)
        if lead in found:
            raise ValueError(f"lead {lead} stands in it twice (as {names[found[lead]]!r} and {name!r})")
        if lead is not None:
            found[lead] = place
    if not found:
        raise ValueError(f"none of its leads is known: {', '.join(names) or 'it has none'}")
    return found


def arrange(signal: Float[np.ndarray, "lead time"], names: Sequence[str]) -> Arranged:
    """Put leads in the order of LEADS by their names; derive limb leads from I and II where they lack.

    A lead without a single sample (all NaN) counts as one that the file lacks; samples at either
    end that no lead has are left out.
    """
    if len(names) != len(signal):
        raise ValueError(f"it names {len(names)} leads but has {len(signal)}")
    found = places(tuple(names))
    present = np.array([lead in found for lead in LEADS])
    out = np.zeros((len(LEADS), signal.shape[1]), np.float32)
    out[present] = signal[[found[lead] for lead in LEADS if lead in found]]
    whole = bool(np.isfinite(out).all())
    if not whole:
        out[np.isinf(out)] = np.nan
        empty = np.isnan(out).all(axis=1)
        out[empty], present[empty] = 0, False
    derived = []
    if present[0] and present[1]:
        for lead, (of_one, of_two) in LIMB.items():
            row = LEADS.index(lead)
            if not present[row]:
                out[row], present[row] = of_one * out[0] + of_two * out[1], True
                derived.append(lead)
    arranged = Arranged(out, present, tuple(derived))
    return arranged if whole and out.size else trim(arranged)


def trim(ecg: Arranged) -> Arranged:
    """Leave out what comes before the first sample, and after the last, that any lead has (not NaN)."""
    known = ~np.isnan(ecg.signal[ecg.present]).all(axis=0)
    if not known.any():
        return ecg._replace(signal=ecg.signal[:, :0])
    if known[0] and known[-1]:
        return ecg
    first, last = np.flatnonzero(known)[[0, -1]]
    return ecg._replace(signal=ecg.signal[:, first : last + 1])


@lru_cache(maxsize=16)
def ratio(hertz: float, wanted: float) -> tuple[int, int]:
    """Return the whole numbers (up, down) between two rates."""
    exact = Fraction(wanted).limit_denominator(1000) / Fraction(hertz).limit_denominator(1000)
    share = exact.limit_denominator(10_000)
    return share.numerator, share.denominator


def resampled_length(samples: int, hertz: float, wanted: float) -> int:
    """Return how many samples of the wanted rate last as long, at least one."""
    up, down = ratio(hertz, wanted)
    return max(1, round(samples * up / down))


def resample(
    signal: Float[np.ndarray, "*many time"], hertz: float, wanted: float
) -> Float[np.ndarray, "*many resampled"]:
    """Change the rate (Hz) of ECGs by a polyphase filter; what is above the new Nyquist rate is removed.

    NaN stays NaN in its place and does not spread: for the filter, the gap is bridged by a line.
    """
    if hertz == wanted:
        return signal
    from scipy.signal import resample_poly  # 0.6 s to load, and most imports never need it

    up, down = ratio(hertz, wanted)
    length = resampled_length(signal.shape[-1], hertz, wanted)
    gaps = np.isnan(signal)
    whole = bridged(signal, gaps) if gaps.any() else signal
    # "line": the filter sees no step at the ends, whatever the offset of the lead.
    out = resample_poly(whole, up, down, axis=-1, padtype="line")[..., :length].astype(np.float32)
    if gaps.any():
        nearest = np.minimum(np.rint(np.arange(length) * down / up).astype(int), signal.shape[-1] - 1)
        out[gaps[..., nearest]] = np.nan
    return out


def bridged(
    signal: Float[np.ndarray, "*many time"], gaps: Bool[np.ndarray, "*many time"]
) -> Float[np.ndarray, "*many time"]:
    """Draw a line over each gap."""
    out, time = signal.copy(), np.arange(signal.shape[-1])
    for where in np.ndindex(*signal.shape[:-1]):
        gap = gaps[where]
        if gap.any():
            out[where][gap] = 0 if gap.all() else np.interp(time[gap], time[~gap], out[where][~gap])
    return out


def filtered(
    signal: Float[np.ndarray, "*many time"], hertz: float, band: tuple[float, float]
) -> Float[np.ndarray, "*many time"]:
    """Keep a band (Hz) of ECGs without delay: second-order Butterworth, forth and back."""
    from scipy.signal import butter, sosfiltfilt

    sections = butter(2, band, "bandpass", fs=hertz, output="sos")
    pad = min(15, signal.shape[-1] - 1)  # 15: scipy's own choice for two sections
    return sosfiltfilt(sections, signal, axis=-1, padlen=pad).astype(np.float32)


def prepare(record: Record, wants: Signal) -> Prepared:
    """Bring one whole ECG into the form that a model wants, NaN as 0; refuse what the model cannot read."""
    name = record.record_id
    if not 0 < record.hertz < np.inf:
        raise ValueError(f"{name}: its rate is {record.hertz:g} Hz; state the right one.")
    try:
        arranged = arrange(record.signal, record.leads)
    except ValueError as reason:
        raise ValueError(f"{name}: {reason}.") from reason
    rows = [LEADS.index(lead) for lead in wants.leads]
    absent = tuple(lead for lead, row in zip(wants.leads, rows, strict=True) if not arranged.present[row])
    if absent and (not wants.subset or len(absent) == len(rows)):
        raise ValueError(f"{name}: this model reads {', '.join(wants.leads)}; missing: {', '.join(absent)}.")
    signal = arranged.signal[rows]
    length = resampled_length(signal.shape[1], record.hertz, wants.hertz)
    if length < wants.samples:
        lasts = signal.shape[1] / record.hertz
        raise ValueError(f"{name}: the ECG lasts {lasts:.3g} s; this model reads {wants.seconds:g} s.")
    here = np.array([lead not in absent for lead in wants.leads])
    out = np.zeros((len(rows), length), np.float32)
    out[here] = np.nan_to_num(resample(signal[here], record.hertz, wants.hertz))
    if wants.band:
        out[here] = filtered(out[here], wants.hertz, wants.band)
    return Prepared(out, absent)


def prepare_many(
    signals: Float[np.ndarray, "record lead time"],
    leads: Sequence[str],
    hertz: float,
    wants: Signal,
    *,
    stops: Int[np.ndarray, " record"] | None = None,
) -> Float[np.ndarray, "record wanted samples"]:
    """Bring whole records of a store into the form that a model wants.

    `stops` are the ends of the valid spans, in samples of `hertz`: what lies behind is padding, stays
    0, and is kept out of the filters. Where the store has the wanted form, nothing is copied.
    """
    if missing := [lead for lead in wants.leads if lead not in leads]:
        raise ValueError(f"This model reads {', '.join(wants.leads)}; missing: {', '.join(missing)}.")
    if tuple(leads) != wants.leads:
        signals = signals[:, [list(leads).index(lead) for lead in wants.leads]]
    if hertz == wants.hertz and wants.band is None:
        return signals
    samples = signals.shape[-1]
    ends = np.full(len(signals), samples) if stops is None else np.asarray(stops)
    length = resampled_length(samples, hertz, wants.hertz)
    out = np.zeros((*signals.shape[:2], length), np.float32)
    for end in np.unique(ends[ends > 0]):  # nearly always one: whole records
        same = ends == end
        part = resample(signals[same, :, :end], hertz, wants.hertz)
        if wants.band:
            part = filtered(part, wants.hertz, wants.band)
        out[same, :, : part.shape[-1]] = part
    return out
