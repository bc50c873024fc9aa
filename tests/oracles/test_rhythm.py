"""Beats found and rhythm measured, on made-up hearts whose every beat is known, and on LUDB's marks."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from einthoven.data.delineation import read_complexes
from einthoven.data.sources.ludb import LUDB, TABLE
from einthoven.data.sources.synthetic import Synthetic
from einthoven.data.synthesis.anatomy import build_of, intervals_of
from einthoven.data.synthesis.cohort import draw_patient, draw_visit
from einthoven.data.synthesis.electrodes import FIELD, Noise, record_leads
from einthoven.data.synthesis.heart import play
from einthoven.data.synthesis.loops import atrial_table, recovery_table, ventricular_table
from einthoven.data.synthesis.rhythm import Beat
from einthoven.ecg import LEADS, Record
from einthoven.rhythm import NAMES, beat_times, features, r_peaks

RATES = (30, 40, 60, 75, 100, 110, 140, 180, 220)
each_hertz = pytest.mark.parametrize("hertz", [100.0, 250.0, 360.0, 500.0])


def regular(rate: float, seconds: float = 10.0, first: float = 0.3) -> np.ndarray:
    return np.arange(first - 4, seconds + 4, 60 / rate)


def ecg_of(
    onsets: Sequence[float] | np.ndarray, hertz: float, *, noise: float = 0.0, who: int = 3
) -> np.ndarray:
    """Ten seconds of twelve leads, QRS beginning at `onsets` (s); `noise` in mV of each electrode."""
    severity: dict[str, float] = {}
    gaps = np.diff(onsets)
    patient = replace(draw_patient(7, who), filling=0.0, severity=severity)
    visit = replace(draw_visit(7, 0), patient=patient, severity=severity, pulse=60 / float(np.median(gaps)))
    build = build_of(7, who)
    times = intervals_of(visit, build, Random(who))
    tables = (atrial_table(visit, build, times), ventricular_table(visit, build, times))
    beats = [Beat(float(at), float(gap), False) for at, gap in zip(onsets[1:], gaps, strict=True)]
    rng = np.random.Generator(np.random.SFC64(who))
    waves = play(beats, (*tables, recovery_table(visit, build, times)), times.qtc, 0.25, rng)
    still = np.zeros(9)
    noises = Noise(still + noise, still + 2 * noise, still, still + noise, 0.25, 50.0, (0.0, 1.0, 0.0))
    return record_leads(waves, FIELD, noises, hertz=hertz, samples=round(10 * hertz), rng=rng)


def told(ecg: np.ndarray, hertz: float, leads: Sequence[str] = LEADS) -> dict[str, float]:
    return dict(zip(NAMES, features(ecg[None], hertz, leads=leads)[0].tolist(), strict=True))


@each_hertz
@pytest.mark.parametrize("rate", RATES)
def test_a_regular_heart_has_its_rate_and_no_variability(rate: float, hertz: float) -> None:
    for noise in (0.0, 0.02):
        found = told(ecg_of(regular(rate), hertz, noise=noise), hertz)
        assert found["heart_rate"] == pytest.approx(rate, abs=0.02 * rate if noise else 0.5)
        assert found["heart_rate"] == pytest.approx(rate, abs=2)
        assert found["sdnn_ms"] < (6 if noise else 1.5) and found["rmssd_ms"] < (9 if noise else 2.5)


@each_hertz
def test_finds_each_beat_of_an_irregular_heart_where_it_is(hertz: float) -> None:
    gaps = np.random.default_rng(0).gamma(25, 0.7 / 25, 40).clip(0.35)
    onsets = np.cumsum(gaps) - 2.9
    peaks = r_peaks(ecg_of(onsets, hertz, noise=0.02), hertz)
    whole = onsets[(onsets > 0) & (onsets < 9.9)]
    assert len(peaks) == len(whole)
    late = peaks / hertz - whole  # the middle of a QRS of some 90 ms
    assert 0.02 < late.mean() < 0.07 and late.std() < 0.006 + 0.3 / hertz
    seen = np.diff(whole)
    found = told(ecg_of(onsets, hertz), hertz)
    assert found["heart_rate"] == pytest.approx(60 / np.median(seen), abs=0.5)
    assert found["sdnn_ms"] == pytest.approx(1000 * seen.std(ddof=1), rel=0.02)
    assert found["rmssd_ms"] == pytest.approx(1000 * np.sqrt(np.square(np.diff(seen)).mean()), rel=0.02)


def test_an_overlooked_pause_and_an_early_beat_stay_what_they_are() -> None:
    onsets = regular(60)
    pause = np.delete(onsets, np.argmin(np.abs(onsets - 5.3)))
    assert len(r_peaks(ecg_of(pause, 250.0), 250.0)) == len(r_peaks(ecg_of(onsets, 250.0), 250.0)) - 1
    early = np.sort(np.append(onsets, 5.3 + 0.38))
    assert len(r_peaks(ecg_of(early, 250.0), 250.0)) == len(r_peaks(ecg_of(onsets, 250.0), 250.0)) + 1


def test_a_beat_a_third_as_high_is_searched_for() -> None:
    ecg = ecg_of(regular(60), 250.0)
    whole = r_peaks(ecg, 250.0)
    low = ecg.copy()
    first, last = whole[5] - 70, whole[5] + 150
    line = np.linspace(ecg[:, first], ecg[:, last], last - first, axis=1)
    low[:, first:last] = line + 0.33 * (ecg[:, first:last] - line)
    np.testing.assert_allclose(r_peaks(low, 250.0), whole, atol=2)
    low[:, first:last] = line
    np.testing.assert_allclose(r_peaks(low, 250.0), np.delete(whole, 5), atol=2)


def test_the_same_heart_gives_the_same_numbers_at_any_rate_of_sampling() -> None:
    for who in range(6):
        onsets = np.cumsum(np.random.default_rng(who).gamma(100, 0.008, 40)) - 4
        tables = [told(ecg_of(onsets, hertz, who=who), hertz) for hertz in (500.0, 250.0, 100.0)]
        for other in tables[1:]:
            assert other["beats"] == tables[0]["beats"]
            for name, apart in {"heart_rate": 0.2, "sdnn_ms": 1.0, "rmssd_ms": 1.5, "st_mv": 0.01}.items():
                assert other[name] == pytest.approx(tables[0][name], abs=apart), name
            assert other["r_mv"] == pytest.approx(tables[0]["r_mv"], rel=0.25)  # a slow sampler rounds it off
            assert other["qrs_ms"] == pytest.approx(tables[0]["qrs_ms"], abs=8)


def test_the_order_of_leads_does_not_matter() -> None:
    ecg, order = ecg_of(regular(70), 250.0, noise=0.02), np.random.default_rng(1).permutation(12)
    one, other = told(ecg, 250.0), told(ecg[order], 250.0, [LEADS[at] for at in order])
    assert one == pytest.approx(other, rel=1e-6)
    np.testing.assert_array_equal(r_peaks(ecg, 250.0), r_peaks(ecg[order], 250.0))


def test_amplitudes_are_those_of_lead_two() -> None:
    """A hand-drawn beat: 1.2 mV high, ST 0.15 mV above the level before it, and the whole lead 3 mV up."""
    hertz = 500.0
    ecg, time = np.zeros((12, 5000)), np.arange(5000) / hertz
    for at in np.arange(0.5, 9.6, 0.8):
        ecg[1] += 1.2 * np.maximum(0, 1 - np.abs(time - at) / 0.03)
        ecg[1] += 0.15 * ((time > at + 0.05) & (time < at + 0.3))
    found = told(ecg + 3, hertz)
    assert found["heart_rate"] == pytest.approx(75, abs=0.01)
    assert found["r_mv"] == pytest.approx(1.2, abs=0.03) and found["st_mv"] == pytest.approx(0.15, abs=0.005)
    lacking = told(ecg[[0, 2]] + ecg[1], hertz, ["I", "III"])
    assert np.isnan(lacking["r_mv"]) and np.isnan(lacking["st_mv"])
    assert lacking["heart_rate"] == pytest.approx(75, abs=0.01)


@pytest.mark.parametrize("hertz", [100.0, 500.0])
def test_qrs_duration_follows_the_true_one(hertz: float) -> None:
    """Triangles of one amplitude: their slope is constant, and begins and ends where they do."""
    time = np.arange(round(10 * hertz)) / hertz
    widths = []
    for width in (0.07, 0.10, 0.14):
        phase = (time - 0.41) % 0.837 - 0.4
        ecg = np.tile(np.maximum(0, 1 - np.abs(phase) / (width / 2)), (12, 1))
        widths.append(told(ecg, hertz)["qrs_ms"])
        assert 0 < widths[-1] - 1000 * width < 35  # the filter and the sampler widen it
    assert np.diff(widths) == pytest.approx([30, 40], abs=8)


def test_missing_flat_and_absent_leads_are_looked_past() -> None:
    ecg = ecg_of(regular(80), 250.0, noise=0.01)
    peaks = r_peaks(ecg, 250.0)
    hurt = ecg.copy()
    hurt[0], hurt[3], hurt[5, 400:1400] = np.nan, 0, np.nan
    hurt[7] = 2.5
    hurt[8] = np.random.default_rng(0).normal(0, 3, 2500)  # an electrode that fell off
    hurt[2, ::97] += 40  # spikes
    np.testing.assert_allclose(r_peaks(hurt, 250.0), peaks, atol=2)
    gone = ecg.copy()
    gone[:, 1000:1500] = np.nan
    seen = r_peaks(gone, 250.0)
    np.testing.assert_allclose(seen, [at for at in peaks if not 985 < at < 1515], atol=2)
    assert told(gone, 250.0)["sdnn_ms"] < 5  # no gap is counted across what is missing
    assert told(gone, 250.0)["heart_rate"] == pytest.approx(80, abs=0.5)


def test_padding_makes_no_beat() -> None:
    ecg = ecg_of(regular(80), 250.0) + 1.0
    padded = np.concatenate([np.zeros((12, 300)), ecg[:, :1500], np.zeros((12, 700))], axis=1)
    np.testing.assert_array_equal(r_peaks(padded, 250.0) - 300, r_peaks(ecg[:, :1500], 250.0))


@pytest.mark.parametrize(
    "ecg",
    [
        np.zeros((12, 1000)),
        np.full((12, 1000), np.nan),
        np.full((12, 1000), 1.5),
        np.zeros((12, 3)),
        np.full((1, 1), 0.2),
        np.random.default_rng(0).normal(0, 0.002, (12, 1000)),
    ],
)
def test_without_beats_nothing_is_told(ecg: np.ndarray) -> None:
    assert len(r_peaks(ecg, 100.0)) == 0
    found = told(ecg, 100.0, LEADS[: len(ecg)])
    assert found.pop("beats") == 0 and np.isnan(list(found.values())).all()


def test_one_beat_has_no_rhythm_and_two_have_a_rate() -> None:
    ecg = ecg_of(regular(60), 250.0)
    peaks = r_peaks(ecg, 250.0)
    one = told(ecg[:, peaks[3] - 80 : peaks[3] + 120], 250.0)
    assert one.pop("beats") == 1 and np.isnan(list(one.values())).all()
    two = told(ecg[:, peaks[3] - 80 : peaks[4] + 120], 250.0)
    assert two["beats"] == 2 and two["heart_rate"] == pytest.approx(60, abs=0.5) and np.isnan(two["sdnn_ms"])


def test_many_at_once_are_each_alone_and_none_is_nothing() -> None:
    ecg = np.stack([ecg_of(regular(rate), 100.0) for rate in (50, 90, 130)])
    alone = np.concatenate([features(one[None], 100.0) for one in ecg])
    np.testing.assert_array_equal(features(ecg, 100.0), alone)
    assert features(ecg[:0], 100.0).shape == (0, len(NAMES))


@pytest.mark.parametrize("hertz", [0.0, -1.0, 20.0, np.nan])
def test_refuses_a_rate_that_shows_no_qrs(hertz: float) -> None:
    with pytest.raises(ValueError, match="from 50 Hz upwards"):
        r_peaks(np.zeros((12, 100)), hertz)


@pytest.mark.parametrize("hertz", [100.0, 500.0])
def test_the_made_up_cohort_has_the_heart_rates_that_it_tells(hertz: float) -> None:
    """Fibrillation, early beats, blocks and noise; the source tells the mean rate."""
    wrong = []
    for record in Synthetic(records=80, hertz=hertz).read_many(0, 80):
        assert isinstance(record, Record)
        beats = beat_times(record.signal, hertz)
        wrong.append(60 * (len(beats) - 1) / (beats[-1] - beats[0]) - record.row["heart_rate"])
    assert np.mean(np.abs(wrong) < 2) > 0.97 and np.median(np.abs(wrong)) < 0.2


def ludb(data: Path) -> LUDB:
    for folder in (data, data / "ludb", data.parent / "ludb"):
        if (folder / TABLE).is_file():
            return LUDB(folder)
    pytest.skip("no LUDB beside EINTHOVEN_DATA")


@pytest.mark.data
@pytest.mark.parametrize(
    ("leads", "least"), [(slice(None), 0.995), ([0, 1], 0.99), ([1], 0.985), ([7], 0.98)]
)
def test_finds_the_beats_that_cardiologists_marked(
    data: Path, leads: slice | list[int], least: float
) -> None:
    source = ludb(data)
    hits = misses = false = 0
    for index, record in enumerate(source.read_many(0, len(source))):
        assert isinstance(record, Record)
        marked = read_complexes(source.path / f"{source.label(index)}.ii")
        true = np.array([one.peak for one in marked]) / record.hertz
        found = beat_times(record.signal[leads], record.hertz)
        apart = np.abs(found[:, None] - true)
        inside = (found >= true[0] - 0.075) & (found <= true[-1] + 0.075)  # the outer beats are not marked
        hits += int((apart.min(0) <= 0.075).sum())
        misses += int((apart.min(0) > 0.075).sum())
        false += int((apart[inside].min(1) > 0.075).sum())
    assert hits / (hits + misses) > least and hits / (hits + false) > least


@pytest.mark.data
def test_heart_rate_and_qrs_are_near_those_that_cardiologists_marked(data: Path) -> None:
    source = ludb(data)
    records = [record for record in source.read_many(0, len(source)) if isinstance(record, Record)]
    found = features(np.stack([record.signal for record in records]), 500.0)
    rate = found[:, 0] - [record.row["heart_rate"] for record in records]
    width = found[:, NAMES.index("qrs_ms")] - [record.row["qrs_ms"] for record in records]
    assert np.abs(rate).mean() < 0.5 and np.nanmean(np.abs(width)) < 12 and abs(np.nanmean(width)) < 5
