"""Bringing ECGs into a stated form: by name, by the laws of the limb leads, by filters with known answers."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from einthoven.data.quality import flags, railed
from einthoven.data.signal import arrange, prepare, prepare_many, resample, resampled_length
from einthoven.ecg import LEADS, Record, Signal, lead_name


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)


def lawful(samples: int = 1000) -> np.ndarray:
    """Twelve leads that obey the laws, written from the electrodes' potentials."""
    right, left, foot, *chest = noise(9, samples)
    centre = (right + left + foot) / 3
    limb = [left - right, foot - right, foot - left]
    limb += [right - (left + foot) / 2, left - (right + foot) / 2, foot - (right + left) / 2]
    return np.stack([*limb, *(v - centre for v in chest)])


def sine(hertz: float, rate: float, seconds: float = 10.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate, dtype=np.float32)


def test_leads_are_placed_by_name_in_any_order_and_spelling() -> None:
    ecg = lawful()
    shuffled = np.random.default_rng(1).permutation(12)
    names = [f"lead {LEADS[i].upper()}" for i in shuffled] + ["Pleth"]
    got = arrange(np.vstack([ecg[shuffled], noise(1, 1000)]), names)
    np.testing.assert_array_equal(got.signal, ecg)
    assert got.present.all() and got.derived == ()


def test_derived_leads_are_those_that_the_electrodes_give() -> None:
    ecg = lawful()
    kept = [0, 1, 6, 7, 8, 9, 10, 11]
    got = arrange(ecg[kept], [LEADS[i] for i in kept])
    np.testing.assert_allclose(got.signal, ecg, atol=1e-6)
    assert got.present.all() and got.derived == ("III", "aVR", "aVL", "aVF")


def test_nothing_is_derived_without_both_of_one_and_two() -> None:
    got = arrange(lawful()[[0, 2, 6]], ["I", "III", "V1"])
    assert [lead for lead, here in zip(LEADS, got.present, strict=True) if here] == ["I", "III", "V1"]
    assert not got.signal[~got.present].any() and got.derived == ()


def test_a_lead_without_a_sample_is_one_that_lacks() -> None:
    ecg = lawful()
    ecg[[2, 6]] = np.nan
    got = arrange(ecg, LEADS)
    np.testing.assert_allclose(got.signal[2], ecg[1] - ecg[0], atol=1e-6)
    assert got.derived == ("III",) and not got.present[6]


def test_ends_that_no_lead_has_are_left_out() -> None:
    ecg = lawful()
    ecg[:, :30] = ecg[:, 950:] = np.nan
    ecg[3, :40] = np.inf
    got = arrange(ecg, LEADS)
    assert got.signal.shape == (12, 920)
    assert np.isnan(got.signal[3, :10]).all() and not np.isnan(got.signal[4]).any()


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["Pleth", "Resp"], "none of its leads is known: Pleth, Resp"),
        (["I", "Lead I"], "lead I stands in it twice"),
        (["I"], "names 1 leads but has 2"),
    ],
)
def test_leads_that_cannot_be_placed_are_refused(names: list[str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        arrange(noise(2, 100), names)


@pytest.mark.parametrize("rate", [500.0, 257.0, 400.0, 1000.0])
def test_what_the_new_rate_can_hold_survives_and_the_rest_vanishes(rate: float) -> None:
    inside = slice(100, 900)  # the ends see the filter's own
    slow = resample(sine(5, rate)[None], rate, 100.0)[0]
    np.testing.assert_allclose(slow[inside], sine(5, 100.0)[inside], atol=0.01)
    fast = resample(sine(70, rate)[None], rate, 100.0)[0]  # would fold to 30 Hz
    assert np.abs(fast[inside]).max() < 0.01


def test_rising_rates_keep_the_wave() -> None:
    got = resample(sine(5, 100.0)[None], 100.0, 500.0)[0]
    np.testing.assert_allclose(got[500:4500], sine(5, 500.0)[500:4500], atol=0.01)


@pytest.mark.parametrize(
    ("samples", "hertz"), [(5000, 500.0), (4096, 400.0), (999, 257.3), (1, 1000.0), (7, 360.0)]
)
def test_lengths_are_exact(samples: int, hertz: float) -> None:
    length = max(1, round(samples * 100 / hertz))
    assert resampled_length(samples, hertz, 100.0) == length
    assert resample(noise(2, samples), hertz, 100.0).shape == (2, length)


def test_an_offset_makes_no_wave_at_the_ends() -> None:
    np.testing.assert_allclose(resample(np.full((1, 5000), 3, np.float32), 500.0, 100.0), 3, atol=1e-4)


def test_missing_samples_stay_where_they_are_and_do_not_spread() -> None:
    whole = np.stack([sine(5, 500.0)] * 2)
    holed = whole.copy()
    holed[0, 2000:2250] = np.nan
    got, want = resample(holed, 500.0, 100.0), resample(whole, 500.0, 100.0)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(got[0])), np.arange(400, 450))
    np.testing.assert_array_equal(got[1], want[1])
    np.testing.assert_allclose(got[0, 470:], want[0, 470:], atol=0.01)


def record(signal: np.ndarray, leads: tuple[str, ...] = LEADS, hertz: float = 500.0) -> Record:
    return Record("p7", "7", signal, leads, hertz)


def test_prepare_selects_resamples_and_filters() -> None:
    ecg = lawful(5000)
    wants = Signal(leads=("V1", "II"), hertz=100.0, band=(0.5, 40.0))
    got, absent = prepare(record(ecg), wants)
    sections = butter(2, (0.5, 40.0), "bandpass", fs=100.0, output="sos")
    want = sosfiltfilt(sections, resample(ecg[[6, 1]], 500.0, 100.0))
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert absent == () and got.dtype == np.float32


def test_prepare_turns_missing_samples_into_zero() -> None:
    ecg = lawful()
    ecg[4, 100:200] = np.nan
    got = prepare(record(ecg, hertz=100.0), Signal()).signal
    np.testing.assert_array_equal(got, np.nan_to_num(ecg))


@pytest.mark.parametrize(
    ("leads", "samples", "wants", "line"),
    [
        (LEADS[:8], 5000, Signal(), "p7: this model reads I, .*; missing: V3, V4, V5, V6"),
        (LEADS[6:], 5000, Signal(leads=("I",), subset=True), "p7: .*missing: I"),
        (LEADS, 1500, Signal(), "p7: the ECG lasts 3 s; this model reads 10 s"),
        (("Pleth",), 5000, Signal(), "p7: none of its leads is known: Pleth"),
    ],
)
def test_prepare_says_what_a_model_cannot_read(
    leads: tuple[str, ...], samples: int, wants: Signal, line: str
) -> None:
    with pytest.raises(ValueError, match=line) as refused:
        prepare(record(noise(len(leads), samples), leads), wants)
    assert "\n" not in str(refused.value)


def test_prepare_leaves_absent_leads_at_zero_where_a_model_allows_it() -> None:
    got, absent = prepare(record(lawful()[:2], LEADS[:2], 100.0), Signal(subset=True, band=(0.5, 40.0)))
    assert absent == LEADS[6:]
    assert not got[6:].any() and got[:6].any(axis=1).all()


def test_a_batch_is_prepared_like_its_records() -> None:
    ecgs = np.stack([lawful(5000), lawful(5000)[::-1]])
    ecgs[1, :, 4000:] = 0  # padding
    wants = Signal(leads=("II", "V5"), seconds=5.0, band=(0.5, 40.0))
    got = prepare_many(ecgs, LEADS, 500.0, wants, stops=np.array([5000, 4000]))
    assert got.shape == (2, 2, 1000)
    np.testing.assert_allclose(got[0], prepare(record(ecgs[0]), wants).signal, atol=1e-5)
    np.testing.assert_allclose(got[1, :, :800], prepare(record(ecgs[1, :, :4000]), wants).signal, atol=1e-5)
    assert not got[1, :, 800:].any()


def test_a_batch_in_the_wanted_form_is_handed_on() -> None:
    ecgs = noise(3, 12, 1000)
    assert prepare_many(ecgs, LEADS, 100.0, Signal()) is ecgs
    with pytest.raises(ValueError, match="missing: V6"):
        prepare_many(ecgs[:, :11], LEADS[:11], 100.0, Signal())


ALL = np.ones(12, bool)


def test_a_sound_ecg_has_no_flag() -> None:
    assert flags(lawful(), ALL, ALL) == (0.0, "", False, False)


def test_each_flag_rises_for_its_own_fault() -> None:
    sound = flags(lawful(), ALL, ALL)
    ecg = lawful()
    ecg[7] = 0.7
    assert flags(ecg, ALL, ALL) == replace_flag(sound, flat="V2")
    ecg = lawful()
    ecg[7, 10] = -10.1
    assert flags(ecg, ALL, ALL) == replace_flag(sound, high=True)
    ecg = lawful()
    ecg[6, :120] = np.nan
    assert flags(ecg, ALL, ALL) == replace_flag(sound, nan_share=0.01)
    ecg = lawful()
    ecg[[1, 2]] = ecg[[2, 1]]
    assert flags(ecg, ALL, ALL) == replace_flag(sound, law=True)


def replace_flag(sound: tuple, **values: object) -> tuple:
    return sound._replace(**values)


def test_the_law_forgives_offsets_rounding_and_holes() -> None:
    ecg = np.round(lawful() / 0.005) * np.float32(0.005)  # a coarse recorder
    ecg[2] += 0.4
    ecg[0, 300:400] = np.nan
    assert not flags(ecg.astype(np.float32), ALL, ALL).law


def test_leads_that_are_absent_or_derived_are_not_judged() -> None:
    ecg = lawful()
    ecg[[1, 2]] = ecg[[2, 1]]
    ecg[7] = 0
    measured = ALL & (np.arange(12) != 2)
    assert flags(ecg, ALL & (np.arange(12) != 7), measured) == (0.0, "", False, False)


def test_a_flat_lead_is_found_beside_a_hole() -> None:
    ecg = lawful()
    ecg[8] = 0.4
    ecg[8, :100] = np.nan
    assert flags(ecg, ALL, ALL).flat == "V3"


def test_a_record_with_a_wrong_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="p7: its rate is 0 Hz"):
        prepare(replace(record(lawful()), hertz=0.0), Signal())


@pytest.mark.parametrize(
    "name",
    [
        "-aVR",
        "- aVR",
        "aVR-",
        "aVR -",
        "Lead -aVR",
        "I-II",
        "II-I",
        "I - II",
        "V1-V2",
        "I I",
        "-I",
        "ECG -V1",
    ],
)
def test_an_inverted_lead_or_a_difference_is_none_of_the_twelve(name: str) -> None:
    assert lead_name(name) is None


@pytest.mark.parametrize(
    ("name", "lead"),
    [
        ("V-1", "V1"),
        ("a-VR", "aVR"),
        ("aV R", "aVR"),
        ("Lead_V.6", "V6"),
        ("ECG III", "III"),
        ("ecg lead ii", "II"),
        ("MDC_ECG_LEAD_AVF", "aVF"),
        (" avl\0 ", "aVL"),
        ("leadI", "I"),
    ],
)
def test_usual_spellings_are_the_lead(name: str, lead: str) -> None:
    assert lead_name(name) == lead


def test_an_amplifier_at_its_limit_is_seen_and_a_sharp_peak_is_not() -> None:
    time = np.arange(1000) / 100
    ecg = (2 * np.exp(-(((time % 1) - 0.5) ** 2) / 2e-3)).astype(np.float32)[None].repeat(12, 0)
    assert railed(ecg, 100.0) == 0
    limited = np.minimum(ecg, 1.5)
    slow = sum(int(x == np.float32(1.5)) for x in limited[0])
    assert slow >= 30 and railed(limited[:1], 100.0) == slow
    assert railed(np.minimum(ecg, 0.5), 100.0) == 0  # within 1 mV: a broad wave, perhaps
    drift = (3 * np.sin(np.arange(1000) / 600)).astype(np.float32).round(3)[None]
    assert (drift == drift.max()).sum() > 3 and railed(drift, 100.0) == 0
    below = np.maximum(-ecg, -1.5)
    below[0, 40] = np.nan
    assert railed(below[:1], 100.0) == slow
