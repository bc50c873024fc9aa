"""When the heart beats, and seven numbers that say how: R peaks and features of rhythm, by hand-made rules.

Nothing here is learned, and nothing assumes a rate of sampling: every width is in seconds, and times are
found between samples. So the same heart beats alike at 100 and at 500 Hz; R is lower and QRS some 3 ms
longer at 100 Hz, for a slow sampler rounds them off.
"""

from collections.abc import Sequence
from itertools import pairwise
from statistics import median  # of a dozen numbers: twenty times as fast as numpy's

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import correlate1d, gaussian_filter1d, maximum_filter1d

from einthoven.ecg import LEADS

NAMES = ("heart_rate", "sdnn_ms", "rmssd_ms", "r_mv", "st_mv", "qrs_ms", "beats")

LOWEST = 50.0  # Hz; below, a QRS is two or three samples
FINE = 0.008  # s, sd of the Gaussian whose slope is taken: the steepest it sees is a wave of 20 Hz
HUMP = 0.030  # s, sd of the Gaussian that makes one hump of a QRS
FLAT = 1.0  # mV/s; a lead that is hardly ever steeper shows no QRS
APART = 0.25  # s, the least time between two beats: 240 a minute
WINDOW = 2.5  # s, in which even a heart at 30 a minute beats
NEIGHBOURS = 4  # windows to either side whose beats say how high a beat is here
SHARE = 0.4  # of that height, which a beat must reach; half as much where one seems to lack
RECOVERY = 0.4  # s after a beat in which what is less than half as steep is its T wave
WEAK = 0.25  # of the usual steepness; what is less steep is no QRS
PAUSE = 1.6  # usual gaps between beats; in a longer one, a beat may have been overlooked
EDGE = 0.040  # s; a QRS nearer to an end is not there as a whole, and its middle not known

STEP = 0.005  # s, of the grid on which beats are compared
GRID = np.arange(-40, 41) * STEP  # s around the middle of a beat
BEFORE, PEAK, AFTER = slice(0, 31), slice(28, 53), slice(56, 81)  # -200 to -50, -60 to 60, 80 to 200 ms
TENTH = 0.10  # of the top speed, at which a QRS begins and ends
LULL = 0.012  # s of less, within a QRS


def r_peaks(ecg: Float[np.ndarray, "lead time"], hertz: float) -> Int[np.ndarray, " beat"]:
    """Find the beats of one ECG (mV), at any heart rate from 30 to 220 a minute; return their samples.

    Any number of leads in any order serves. A missing sample is NaN, an absent lead or padding NaN or 0. A
    beat is where the slopes of its QRS have their middle. Nothing but noise gives beats, too.
    """
    return np.rint(beat_times(ecg, hertz) * hertz).astype(np.int64)


def features(
    ecg: Float[np.ndarray, "record lead time"], hertz: float, *, leads: Sequence[str] = LEADS
) -> Float[np.ndarray, "record feature"]:
    """Measure the rhythm of ECGs (mV); the columns are called as in NAMES.

    `heart_rate` (bpm) is that of the median gap between beats, `sdnn_ms` the standard deviation of the
    gaps and `rmssd_ms` the root mean square of their changes, ectopic beats included. `r_mv` and `st_mv`
    are medians over the beats in lead II, above its mean level from 200 to 50 ms before each: the highest
    point within 60 ms, and the mean from 80 to 200 ms after. `qrs_ms` is the time in which the median beat
    of all leads moves faster than a tenth of its top speed. What needs more beats or another lead is NaN.
    """
    told = np.full((len(ecg), len(NAMES)), np.nan)
    second = list(leads).index("II") if "II" in leads else None
    for row, one in zip(told, ecg, strict=True):
        slope, missing = slopes(one, hertz)
        times = beats_of(slope, hertz)
        row[-1] = len(times)
        if len(times) > 1:
            row[:3] = variability(times, missing, hertz)
            row[5] = qrs_width(slope, times, hertz)
            if second is not None:
                row[3:5] = levels(one[second], times, hertz)
    return told


def beat_times(ecg: Float[np.ndarray, "lead time"], hertz: float) -> Float[np.ndarray, " beat"]:
    """Return when the middles of the QRS complexes are, in seconds after the first sample."""
    return beats_of(slopes(ecg, hertz)[0], hertz)


def slopes(
    ecg: Float[np.ndarray, "lead time"], hertz: float
) -> tuple[Float[np.ndarray, "lead time"], Bool[np.ndarray, " time"]]:
    """Return how fast each lead moves (mV/s), 0 where that is not known, and where nothing is known.

    The filter is the slope of a Gaussian: it passes 6 to 40 Hz, and the level and drift of a lead hardly.
    """
    if not hertz >= LOWEST:
        raise ValueError(f"Rhythm is read from {LOWEST:g} Hz upwards, got hertz = {hertz:g}.")
    reach = max(1, int(np.ceil(3.5 * FINE * hertz)))
    time = np.arange(-reach, reach + 1) / hertz
    weights = time * np.exp(-0.5 * (time / FINE) ** 2)
    known = np.isfinite(ecg)
    beside = np.flatnonzero((known & (ecg != 0)).any(axis=0))  # outside is padding
    known[:, : beside[0] if len(beside) else None] = False
    known[:, beside[-1] + 1 if len(beside) else 0 :] = False
    whole = np.where(known, ecg, 0).astype(np.float64)
    slope = correlate1d(whole, weights / (weights @ time), axis=1, mode="nearest")
    if not known.all():
        slope[maximum_filter1d(~known, len(time), axis=1)] = 0
    return slope, ~known.any(axis=0)


def beats_of(slope: Float[np.ndarray, "lead time"], hertz: float) -> Float[np.ndarray, " beat"]:
    """Find the beats as humps of the slopes; return their times in seconds."""
    speed = joint_speed(slope, hertz)
    if not speed.any():
        return np.empty(0)
    hump = np.sqrt(gaussian_filter1d(speed**2, HUMP * hertz, mode="constant"))
    steep = maximum_filter1d(speed, int(0.1 * hertz) | 1)
    candidates = summits(hump, round(APART * hertz), seen=speed > 0, edge=EDGE * hertz).tolist()
    needed = SHARE * usual_height(hump, hertz)
    found = [at for at in candidates if hump[at] > needed[at]]
    beats: list[int] = []
    for at in found:
        late = beats and at - beats[-1] < RECOVERY * hertz and steep[at] < 0.5 * steep[beats[-1]]
        if not late:
            beats.append(at)
    hopeful = [at for at in candidates if hump[at] > 0.5 * needed[at]]
    beats = searched_back(beats, hopeful, hump, steep, hertz)
    places = np.array(beats, dtype=np.int64)
    return np.asarray((places + vertex(hump, places)) / hertz)


def joint_speed(slope: Float[np.ndarray, "lead time"], hertz: float) -> Float[np.ndarray, " time"]:
    """Return how fast the leads move together, each measured by its own restlessness.

    A clean lead counts much, and a noisy one little; no lead alone can say more than three QRS do.
    """
    size = np.abs(slope)
    some = size[:, :: max(1, int(hertz / 100))]  # of what is slower than 40 Hz, 100 samples a second tell all
    middle, top = np.percentile(some, (50, 98), axis=1)
    lively = top > FLAT
    if not lively.any():
        return np.zeros(slope.shape[1])
    size, middle, top = size[lively], middle[lively, None], top[lively, None]
    return np.asarray(np.sqrt(np.square(np.minimum(size, 3 * top) / (middle + top / 20)).mean(axis=0)))


def summits(
    hump: Float[np.ndarray, " time"], apart: int, *, seen: Bool[np.ndarray, " time"], edge: float
) -> Int[np.ndarray, " candidate"]:
    """Return the samples that are the highest within the least time between beats, and not at an end."""
    high = np.flatnonzero((hump == maximum_filter1d(hump, 2 * apart - 1)) & (hump > 0))
    ends = np.flatnonzero(seen)[[0, -1]] + (edge, -edge)
    high = high[(high >= max(ends[0], 1)) & (high <= min(ends[1], len(hump) - 2))]
    return np.asarray(high[np.diff(high, prepend=-apart) >= apart])


def usual_height(hump: Float[np.ndarray, " time"], hertz: float) -> Float[np.ndarray, " time"]:
    """Return how high a beat's hump is around each sample: a median, which a few odd beats do not move."""
    count = max(1, round(len(hump) / (WINDOW * hertz)))
    window = np.arange(len(hump)) * count // len(hump)
    tops = np.maximum.reduceat(hump, np.searchsorted(window, np.arange(count))).tolist()
    near = [tops[max(0, i - NEIGHBOURS) : i + NEIGHBOURS + 1] for i in range(count)]
    return np.array([median(some) for some in near])[window]


def searched_back(
    beats: list[int],
    hopeful: list[int],
    hump: Float[np.ndarray, " time"],
    steep: Float[np.ndarray, " time"],
    hertz: float,
) -> list[int]:
    """Add the highest hump within each long pause, if it may be a weak QRS."""
    if len(beats) < 3:
        return beats
    usual = median(after - before for before, after in pairwise(beats))
    steepness = median(steep[beats].tolist())
    more = list(beats)
    for before, after in pairwise(beats):
        if after - before > PAUSE * usual:
            first, last = before + RECOVERY * hertz, after - APART * hertz
            between = [at for at in hopeful if first < at < last and steep[at] > WEAK * steepness]
            more += [max(between, key=lambda at: hump[at])] if between else []
    return sorted(more)


def vertex(hump: Float[np.ndarray, " time"], at: Int[np.ndarray, " beat"]) -> Float[np.ndarray, " beat"]:
    """Return where, within a sample, the parabola through a summit and both its neighbours is highest."""
    before, top, after = hump[at - 1], hump[at], hump[at + 1]
    bend = np.minimum(before - 2 * top + after, -np.finfo(float).tiny)
    return np.asarray(0.5 * (before - after) / bend)


def variability(
    times: Float[np.ndarray, " beat"], missing: Bool[np.ndarray, " time"], hertz: float
) -> tuple[float, float, float]:
    """Return heart rate (bpm), SDNN and RMSSD (ms) from gaps in which nothing was missing."""
    gaps = np.diff(times)
    blind = np.concatenate([[0], np.cumsum(missing)])
    first, last = np.rint(times[:-1] * hertz).astype(int), np.rint(times[1:] * hertz).astype(int)
    gaps[blind[last] > blind[first]] = np.nan
    changes = np.diff(gaps)
    seen, changes = gaps[~np.isnan(gaps)], changes[~np.isnan(changes)]
    rate = 60 / median(seen.tolist()) if len(seen) else np.nan
    sdnn = 1000 * float(seen.std(ddof=1)) if len(seen) > 1 else np.nan
    rmssd = 1000 * float(np.sqrt(np.square(changes).mean())) if len(changes) else np.nan
    return rate, sdnn, rmssd


def around(
    signal: Float[np.ndarray, "*many time"], at: Float[np.ndarray, "beat moment"], hertz: float
) -> Float[np.ndarray, "*many whole moment"]:
    """Read signals at some times (s), by a line between samples, for the beats that lie whole in them."""
    place = at * hertz
    place = place[(place[:, 0] >= 0) & (place[:, -1] <= signal.shape[-1] - 1)]
    low = np.minimum(place.astype(np.int64), signal.shape[-1] - 2)
    part = place - low
    return np.asarray(signal[..., low] * (1 - part) + signal[..., low + 1] * part)


def levels(
    lead: Float[np.ndarray, " time"], times: Float[np.ndarray, " beat"], hertz: float
) -> tuple[float, float]:
    """Return the height of R and of ST in one lead (mV), NaN if it is flat or missing, or no beat whole."""
    beats = around(lead.astype(np.float64), times[:, None] + GRID, hertz)
    beats = beats[np.isfinite(beats).all(axis=1)]
    if not beats.size or not np.ptp(beats):
        return np.nan, np.nan
    level = beats[:, BEFORE].mean(axis=1)
    top, after = beats[:, PEAK].max(axis=1), beats[:, AFTER].mean(axis=1)
    return median((top - level).tolist()), median((after - level).tolist())


def qrs_width(
    slope: Float[np.ndarray, "lead time"], times: Float[np.ndarray, " beat"], hertz: float
) -> float:
    """Return for how long (ms) the median beat moves faster than a tenth of its top speed.

    From the fastest moment outwards, until it is slower for 12 ms. Speed is the root mean square of the
    leads' slopes, above that of the calmest tenth of 400 ms around the beat. That share is a round number:
    in LUDB it comes within 3 ms of lead II's marked QRS on average, and is 11 ms off in a single ECG.
    """
    beats = around(slope, times[:, None] + GRID, hertz)
    if not beats.shape[1]:
        return np.nan
    speed = np.sqrt(np.square(np.median(beats, axis=1)).mean(axis=0))
    speed -= np.quantile(speed, 0.1)
    top = PEAK.start + int(speed[PEAK].argmax())
    enough = TENTH * speed[top]
    return (
        1000 * STEP * (reach(speed[top:], enough) + reach(speed[top::-1], enough)) if enough > 0 else np.nan
    )


def reach(speed: Float[np.ndarray, " moment"], enough: float) -> float:
    """Return after how many steps, and a part of one, speed falls below enough and stays so for a while."""
    fast = np.flatnonzero(speed > enough)
    halts = np.flatnonzero(np.diff(fast) > LULL / STEP)
    last = int(fast[halts[0]] if len(halts) else fast[-1])
    if last + 1 == len(speed):
        return float(last)
    return last + float((speed[last] - enough) / (speed[last] - speed[last + 1]))
