"""The synthetic cohort: laws of the leads, pure records, diseases that show where a cardiologist looks."""

import doctest
import pickle
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from random import Random
from types import ModuleType

import numpy as np
import pytest
from scipy.signal import find_peaks, resample_poly
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from einthoven import parts
from einthoven.data.sources.synthetic import Synthetic
from einthoven.data.synthesis import cohort as cohort_of_patients
from einthoven.data.synthesis import heart, loops, rhythm, statements
from einthoven.data.synthesis.anatomy import build_of, intervals_of
from einthoven.data.synthesis.cohort import RISKS, VISITS, draw_patient, draw_visit, fold_of, seat
from einthoven.data.synthesis.electrodes import FIELD, Noise, leads_of, record_leads, sum_waves
from einthoven.data.synthesis.heart import Heartbeats, run_heart
from einthoven.data.synthesis.loops import ectopic_table
from einthoven.data.synthesis.rhythm import Beat, beats_of, rate_of
from einthoven.data.synthesis.statements import SUPERCLASS, chance_of_call
from einthoven.ecg import LEADS, Record

I, II, III, AVR, AVL, AVF, V1, V2, V3, V4, V5, V6 = range(12)  # noqa: E741 - the name of the lead
SUPERCLASSES = ("CD", "HYP", "MI", "NORM", "STTC")


@pytest.fixture(scope="module")
def cohort() -> list[Record]:
    return [made for made in Synthetic(records=800).read_many(0, 800) if isinstance(made, Record)]


# A patient's heart with and without a disease, free of noise


def quiet(seconds: float) -> Noise:
    none = np.zeros(9)
    return Noise(none, none, none, none, 0.25, 50.0, (0.0, 1.0, 0.0))


def trace(
    number: int, severity: Mapping[str, float], *, filling: float = 0.0, pulse: float = 65.0
) -> tuple[np.ndarray, Heartbeats]:
    """Twelve leads at 500 Hz, 10 s, of patient `number` as if he had just these diseases."""
    patient = replace(draw_patient(7, number), filling=filling, severity=severity)
    visit = replace(draw_visit(7, 0), patient=patient, severity=severity, filling=filling, pulse=pulse)
    bulk = np.random.Generator(np.random.SFC64(number))
    beats = run_heart(visit, build_of(7, number), 10.0, Random(number), bulk)
    leads = record_leads(beats.waves, FIELD, quiet(10.0), hertz=500.0, samples=5000, rng=bulk)
    return leads, beats


def middle_beat(leads: np.ndarray, *, before: float = 0.35, after: float = 0.5) -> np.ndarray:
    """The beat nearest the middle, from `before` to `after` its steepest point (s), at 500 Hz."""
    peaks = find_beats(leads, 500.0)
    centre = peaks[np.abs(peaks - 2500).argmin()]
    return leads[:, centre - round(before * 500) : centre + round(after * 500)]


def find_beats(leads: np.ndarray, hertz: float) -> np.ndarray:
    """R peaks by the textbook: squared slope of all leads, smoothed over 80 ms, then the peaks."""
    slope = np.abs(np.diff(leads, axis=1)).sum(0)
    width = max(round(0.08 * hertz), 1)
    smooth = np.convolve(slope, np.ones(width) / width, mode="same")
    peaks, _ = find_peaks(smooth, distance=round(0.28 * hertz), height=0.45 * np.quantile(smooth, 0.985))
    return peaks


def qrs_width(leads: np.ndarray) -> float:
    """Milliseconds in which the middle beat moves faster than a fifteenth of its top speed."""
    beat = middle_beat(leads, before=0.12, after=0.15)[[I, II, V1, V2, V3, V4, V5, V6]]
    speed = np.sqrt((np.diff(beat, axis=1) ** 2).sum(0))
    fast = np.flatnonzero(speed > speed.max() / 15)
    return float(fast[-1] - fast[0]) * 2


# What holds for every record


def test_einthovens_and_goldbergers_laws_hold_noise_and_all() -> None:
    for made in Synthetic(hertz=250).read_many(0, 30):
        assert isinstance(made, Record)
        x = made.signal.astype(np.float64)
        assert made.signal.dtype == np.float32 and made.signal.shape == (12, 2500) and made.leads == LEADS
        assert np.isfinite(x).all() and 0.5 < np.ptp(x) < 12
        np.testing.assert_allclose(x[III], x[II] - x[I], atol=1e-6)
        np.testing.assert_allclose(x[AVR], -(x[I] + x[II]) / 2, atol=1e-6)
        np.testing.assert_allclose(x[AVL], (x[I] - x[III]) / 2, atol=1e-6)
        np.testing.assert_allclose(x[AVF], (x[II] + x[III]) / 2, atol=1e-6)


def same(one: Record, other: Record) -> bool:
    return (
        np.array_equal(one.signal, other.signal)
        and one.row == other.row
        and (one.record_id, one.patient_id) == (other.record_id, other.patient_id)
    )


def test_a_record_is_the_same_alone_in_any_chunk_and_in_any_process() -> None:
    source = Synthetic(records=60)
    whole = list(source.read_many(0, 60))
    chunks = [made for start in range(0, 60, 7) for made in source.read_many(start, min(start + 7, 60))]
    draw_patient.cache_clear()
    build_of.cache_clear()
    other = pickle.loads(pickle.dumps(Synthetic(records=1000)))
    backwards = [other.read(index) for index in reversed(range(60))][::-1]
    for one, two, three in zip(whole, chunks, backwards, strict=True):
        assert isinstance(one, Record) and isinstance(two, Record)
        assert same(one, two) and same(one, three)


def test_seeds_differ_and_one_seed_does_not() -> None:
    one, again, other = (Synthetic(seed=seed).read(5) for seed in (0, 0, 1))
    assert same(one, again)
    assert one.record_id == "synthetic-0-000005" and other.record_id == "synthetic-1-000005"
    assert abs(np.corrcoef(one.signal[II], other.signal[II])[0, 1]) < 0.5


def test_the_same_heart_beats_at_every_rate() -> None:
    for index in range(8):
        slow, fast = Synthetic(hertz=100).read(index), Synthetic(hertz=500).read(index)
        assert slow.row == fast.row
        down = resample_poly(fast.signal, 1, 5, axis=1)
        ones = np.ones(61) / 61  # the noise differs, and most of it is slow
        flat = [lead - np.convolve(lead, ones, mode="same") for lead in (down[V2], slow.signal[V2])]
        assert np.corrcoef(*flat)[0, 1] > 0.97


def test_seats_and_folds_as_counted_one_by_one() -> None:
    slow = [(p, v) for p in range(40) for v in range(VISITS[p % 10])]
    assert [seat(index) for index in range(len(slow))] == slow
    folds = np.bincount([fold_of(seat(index)[0]) for index in range(sum(VISITS) * 10)], minlength=11)
    assert folds[0] == 0 and (folds[1:] == sum(VISITS)).all()


def test_no_patient_in_two_folds(cohort: list[Record]) -> None:
    seen: dict[str, set[int]] = {}
    for made in cohort:
        seen.setdefault(made.patient_id, set()).add(made.row["fold"])
    assert all(len(folds) == 1 for folds in seen.values())
    assert {fold for folds in seen.values() for fold in folds} == set(range(1, 11))
    visits = np.bincount([sum(made.patient_id == patient for made in cohort) for patient in islice(seen, 40)])
    assert len(visits) == 5 and (visits[1:] > 0).all()


@pytest.mark.parametrize("option", [{"records": 0}, {"hertz": 20}, {"seconds": 0.5}])
def test_refuses_in_one_line_what_it_cannot_make(option: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(option))) as refusal:
        Synthetic(**option)
    assert "\n" not in str(refusal.value)


def test_is_found_by_name_and_says_that_it_is_made_up() -> None:
    source = parts.build("sources", {"name": "synthetic", "records": 3}, path=None)
    assert len(source) == 3 and source.synthetic and "made-up" in source.title
    assert "synthetic" in source.label(0) and "synthetic" in source.read(2).patient_id


@pytest.mark.parametrize("module", [cohort_of_patients, heart, loops, statements, rhythm])
def test_worked_examples(module: ModuleType) -> None:
    failed, tried = doctest.testmod(module)
    assert tried > 0 and failed == 0


# The physics


def test_waves_add_up_as_their_definition_says() -> None:
    rng = np.random.default_rng(0)
    waves = np.column_stack([rng.uniform(0, 2, 9), rng.uniform(0.01, 0.1, 9), rng.standard_normal((9, 3))])
    fine = np.arange(2000) / 1000
    expected = np.zeros((3, 2000))
    for time, sd, *vector in waves:
        expected += np.outer(vector, np.exp(-0.5 * ((fine - time) / sd) ** 2))
    np.testing.assert_allclose(sum_waves(waves, 2000, 1000.0, 0.0), expected, atol=2e-4)

    # The filter in front of the sampler, computed exactly, is a convolution with a Gaussian of area 1.
    smear = 0.004
    kernel = np.exp(-0.5 * ((np.arange(-40, 41) / 1000) / smear) ** 2)
    filtered = np.stack([np.convolve(axis, kernel / kernel.sum(), mode="same") for axis in expected])
    coarse = sum_waves(waves, 200, 100.0, smear)
    np.testing.assert_allclose(coarse[:, 10:190], filtered[:, 100:1900:10], atol=1e-3)


def test_leads_are_differences_of_electrodes() -> None:
    rng = np.random.default_rng(1)
    dipole, noise = rng.standard_normal((3, 50)), rng.standard_normal((9, 50))
    right, left, foot, *chest = FIELD @ dipole + noise
    terminal = (right + left + foot) / 3
    expected = [left - right, foot - right, foot - left]
    expected += [1.5 * (limb - terminal) for limb in (right, left, foot)]  # Goldberger's are one and a half
    expected += [electrode - terminal for electrode in chest]
    np.testing.assert_allclose(leads_of(dipole, FIELD, noise.copy()), np.stack(expected), atol=1e-5)


def test_mains_hum_below_half_the_rate_only() -> None:
    noise = replace(quiet(10.0), hum=np.full(9, 0.1) * np.arange(9))
    power = {}
    for hertz in (100.0, 500.0):
        still = np.array([[5.0, 0.01, 0.0, 0.0, 0.0]])
        samples = round(10 * hertz)
        leads = record_leads(still, FIELD, noise, hertz=hertz, samples=samples, rng=np.random.default_rng(0))
        spectrum = np.abs(np.fft.rfft(leads[V6].astype(np.float64)))
        power[hertz] = spectrum.max(), np.fft.rfftfreq(samples, 1 / hertz)[spectrum.argmax()]
    assert power[100.0][0] == 0 and power[500.0][1] == pytest.approx(50.0)


# Where a cardiologist looks


def test_a_simple_detector_counts_the_true_rate(cohort: list[Record]) -> None:
    errors, scatter = [], {"SR": [], "AFIB": []}
    for made in cohort[:400]:
        statements = made.row["statements"]
        if "PVC" in statements:
            continue
        gaps = np.diff(find_beats(made.signal, made.hertz)) / made.hertz
        if statements[-1] in scatter:
            scatter[statements[-1]].append(gaps.std() / gaps.mean())
        if statements[-1] != "AFIB":
            errors.append(abs(60 / gaps.mean() / made.row["heart_rate"] - 1))
    assert np.median(errors) < 0.01 and np.quantile(errors, 0.95) < 0.04
    assert np.median(scatter["AFIB"]) > 0.12 > 3 * np.median(scatter["SR"])


def test_the_rhythm_statement_follows_the_rate(cohort: list[Record]) -> None:
    rates = {
        code: [m.row["heart_rate"] for m in cohort if m.row["rhythm"] == [code]]
        for code in ("SBRAD", "SR", "STACH", "AFIB")
    }
    assert max(rates["SBRAD"]) < 62 and min(rates["STACH"]) > 97
    assert np.quantile(rates["SR"], 0.02) > 56 and np.quantile(rates["SR"], 0.98) < 102
    assert 70 < np.mean(rates["AFIB"]) < 105


def test_the_true_rate_is_the_mean_of_the_intervals_inside() -> None:
    beats = [Beat(onset, 0.5, False) for onset in (-0.5, 0.25, 0.75, 1.75, 2.25)]
    assert rate_of(beats, 2.0) == pytest.approx(60 / np.mean([0.5, 1.0]))


@pytest.mark.parametrize("code", ["CLBBB", "CRBBB"])
def test_a_block_widens_qrs(code: str) -> None:
    for number in range(6):
        (plain, healthy), (blocked, ill) = trace(number, {}), trace(number, {code: 0.8})
        assert 74 <= healthy.qrs <= 116 and 118 < ill.qrs < 180
        assert qrs_width(blocked) > qrs_width(plain) + 25
        assert abs(qrs_width(plain) - healthy.qrs) < 25


def test_blocks_look_to_their_own_side() -> None:
    for number in range(6):
        left, _ = trace(number, {"CLBBB": 0.9})
        right, _ = trace(number, {"CRBBB": 0.9})
        beat = middle_beat(left)
        assert beat[V1].min() < -0.5 and np.abs(beat[V1].min()) > 2 * beat[V1, 100:250].max()  # rS or QS
        assert beat[V6, 250:].min() < -0.03 and beat[V1, 250:].max() > 0.1  # T against QRS
        late = slice(150, 250)
        assert middle_beat(right)[V1, late].max() > 0.25 and middle_beat(right)[V6, late].min() < -0.15


def test_an_infarct_leaves_q_waves_and_turns_t_where_it_lies() -> None:
    for number in range(8):
        healthy, inferior, anterior = (
            middle_beat(trace(number, severity)[0]) for severity in ({}, {"IMI": 0.9}, {"AMI": 0.9})
        )
        early = slice(135, 175)  # 80 ms before the steepest point
        for lead in (II, III, AVF):
            assert inferior[lead, early].min() < healthy[lead, early].min() - 0.08
            assert inferior[lead, 250:].sum() < healthy[lead, 250:].sum()
        for lead in (V1, V2, V3, V4):
            r_wave = slice(140, 230)
            assert anterior[lead, r_wave].max() < healthy[lead, r_wave].max() - 0.05
        assert np.ptp(anterior[V3, early] - healthy[V3, early]) > 0.2
        assert anterior[V3, 250:].sum() < healthy[V3, 250:].sum()


def test_hypertrophy_raises_voltage_and_strains() -> None:
    for number in range(6):
        plain, thick = (middle_beat(trace(number, severity)[0]) for severity in ({}, {"LVH": 0.9}))
        sokolow = [max(-beat[V1].min(), -beat[V2].min()) + beat[V5].max() for beat in (plain, thick)]
        assert sokolow[1] > 1.3 * sokolow[0]
        assert thick[V6, 250:].mean() < plain[V6, 250:].mean()


def test_ischaemia_lowers_st_and_vague_changes_flatten_t() -> None:
    differences = []
    for number in range(8):
        plain, ill, flat = (middle_beat(trace(number, s)[0]) for s in ({}, {"ISC_": 0.9}, {"NST_": 0.9}))
        differences.append((ill - plain)[[II, V4, V5], 225:235].mean())
        assert np.ptp(flat[V4, 240:]) < 0.6 * np.ptp(plain[V4, 240:])
    assert np.mean(differences) < -0.05


def test_first_degree_block_lengthens_pr() -> None:
    for number in range(5):
        (plain, short), (blocked, long) = trace(number, {}), trace(number, {"1AVB": 0.8})
        assert 110 < short.pr < 215 < long.pr < 310
        tops = [middle_beat(leads)[II, :145].argmax() for leads in (plain, blocked)]
        assert (tops[0] - tops[1]) * 2 == pytest.approx(long.pr - short.pr, abs=40)


def test_no_p_wave_in_fibrillation() -> None:
    """Averaged over beats, P stands out and f waves cancel."""
    for number in range(5):
        heights = []
        for severity in ({}, {"AFIB": 0.5}):
            leads, _ = trace(number, severity)
            beats = [peak for peak in find_beats(leads, 500.0) if 150 < peak < 4900]
            mean = np.mean([leads[II, peak - 110 : peak - 50] for peak in beats], axis=0)
            heights.append(np.ptp(mean))
        assert heights[1] < 0.7 * heights[0] and heights[0] > 0.05


def test_early_beats_come_early_pause_fully_and_are_wide() -> None:
    early = 0
    for number in range(6):
        patient = replace(draw_patient(7, number), severity={"PVC": 0.9})
        visit = replace(draw_visit(7, 0), patient=patient, severity={"PVC": 0.9}, pulse=60.0)
        beats = beats_of(visit, 10.0, 0.25, Random(number))
        for before, beat, after in zip(beats, beats[1:], beats[2:], strict=False):
            if beat.ectopic:
                early += 1
                assert beat.gap == pytest.approx(beat.onset - before.onset) and 0.5 < beat.gap < 0.7
                assert after.onset - before.onset == pytest.approx(2.0, rel=0.08)
                assert not before.ectopic and not after.ectopic
        qrs = ectopic_table(build_of(7, number))[:3]
        waves = np.column_stack([0.5 + qrs[:, 0], qrs[:, 2], qrs[:, 4:]])
        speed = np.sqrt((np.diff(sum_waves(waves, 500, 500.0, 0.0)) ** 2).sum(0))
        assert np.ptp(np.flatnonzero(speed > speed.max() / 15)) * 2 > 120
    assert early > 10


def test_filling_pressure_swells_the_end_of_p_and_widens_it() -> None:
    for number in range(5):
        force = []
        for filling in (-1.0, 2.0):
            leads, _ = trace(number, {}, filling=filling)
            p = middle_beat(leads)[V1, :140]
            force.append(-(p - p[:20].mean()).min())
            visit = replace(draw_visit(7, 0), filling=filling, severity={})
            assert intervals_of(visit, build_of(7, number), Random(0)).p == pytest.approx(
                build_of(7, number).p_ms + 7 * filling, abs=6
            )
        assert force[1] > 1.4 * force[0]


# The cohort


def test_classes_are_common_enough_and_statements_agree(cohort: list[Record]) -> None:
    share = {c: np.mean([c in made.row["superdiag"] for made in cohort]) for c in SUPERCLASSES}
    assert all(0.08 < value < 0.5 for value in share.values()), share
    codes = {code for made in cohort for code in made.row["statements"]}
    assert codes == {*RISKS, "NORM", "SR", "SBRAD", "STACH"}
    for made in cohort:
        row = made.row
        assert row["superdiag"] == sorted({SUPERCLASS[c] for c in row["statements"] if c in SUPERCLASS})
        assert ("NORM" in row["superdiag"]) <= (len(row["superdiag"]) == 1)
        assert len(row["rhythm"]) == 1 and row["rhythm"][0] in row["statements"]
        assert 18 <= row["age"] <= 100 and row["sex"] in ("female", "male")
    assert chance_of_call(-40.0) > 0 and chance_of_call(40.0) < 1


def test_filling_pressure_has_the_shape_of_a_catheter_laboratory(cohort: list[Record]) -> None:
    pressure = np.array([made.row["pcwp"] for made in cohort])
    assert 14 < pressure.mean() < 18 and 6 < pressure.std() < 10
    assert pressure.min() >= 4 and pressure.max() <= 40
    assert np.median(pressure) < pressure.mean() - 0.8  # skewed


def test_reports_come_in_two_languages_and_say_what_was_read(cohort: list[Record]) -> None:
    reports = [made.row["report"] for made in cohort]
    german = ("Sinus", "Vorhof", "Normofrequenter", "Bradykarder", "Tachykarder", "Absolute")
    english = ("Sinus ", "Atrial", "Regular", "Slow", "Fast")
    is_english = np.array([text.startswith(english) for text in reports])
    is_german = np.array([text.startswith(german) for text in reports]) & ~is_english
    empty = np.array([text == "" for text in reports])
    assert is_german.mean() == pytest.approx(0.62, abs=0.04)
    assert is_english.mean() == pytest.approx(0.30, abs=0.04)
    assert (is_german | is_english | empty).all()
    fibrillation = np.array(["flimmern" in text or "fibrillation" in text for text in reports])
    truth = np.array([made.row["rhythm"] == ["AFIB"] for made in cohort])
    assert (fibrillation == (truth & ~empty)).all()
    desk = np.array(["S-1" in text or "Leidenkart" in text or "Dreieck" in text for text in reports])[~empty]
    normal = np.array(["NORM" in made.row["superdiag"] for made in cohort])[~empty]
    assert desk[normal].mean() == pytest.approx(desk[~normal].mean(), abs=0.08)


@pytest.fixture(scope="module")
def features(cohort: list[Record]) -> np.ndarray:
    """A mean beat in eight leads, its QRS finely and the rest coarsely, and the rhythm's two moments."""
    rows = []
    for made in cohort:
        signal = made.signal[[I, II, V1, V2, V3, V4, V5, V6]]
        peaks = find_beats(made.signal, made.hertz)
        inside = [peak for peak in peaks if 32 <= peak < made.signal.shape[1] - 48] or [500]
        beat = np.median([signal[:, peak - 32 : peak + 48] for peak in inside], axis=0)
        beat = beat - beat[:, :80].mean(1, keepdims=True)
        coarse = beat.reshape(8, 20, 4).mean(2)
        gaps = np.diff(peaks) if len(peaks) > 2 else np.array([80, 80])
        moments = [np.log(gaps.mean()), gaps.std() / gaps.mean()]
        rows.append(np.concatenate([coarse.ravel(), beat[:, 24:42].ravel(), moments]))
    return StandardScaler().fit_transform(np.array(rows))


@pytest.fixture(scope="module")
def training(cohort: list[Record]) -> np.ndarray:
    return np.array([made.row["fold"] <= 7 for made in cohort])


def test_superclasses_can_be_learned_and_shuffled_ones_cannot(
    cohort: list[Record], features: np.ndarray, training: np.ndarray
) -> None:
    truth = np.array([[c in made.row["superdiag"] for c in SUPERCLASSES] for made in cohort])
    shuffled = np.random.default_rng(0).permutation(truth)
    areas = []
    for labels in (truth, shuffled):
        scores = [
            LogisticRegression(C=0.01, max_iter=500)
            .fit(features[training], labels[training, label])
            .decision_function(features[~training])
            for label in range(5)
        ]
        areas.append([roc_auc_score(labels[~training, label], scores[label]) for label in range(5)])
    assert min(areas[0]) > 0.75 and np.mean(areas[0]) < 0.98, areas[0]  # not trivial either
    assert abs(np.mean(areas[1]) - 0.5) < 0.05, areas[1]


def test_filling_pressure_can_be_learned_in_part(
    cohort: list[Record], features: np.ndarray, training: np.ndarray
) -> None:
    pressure = np.array([made.row["pcwp"] for made in cohort])
    model = Ridge(alpha=300.0).fit(features[training], pressure[training])
    assert 0.15 < r2_score(pressure[~training], model.predict(features[~training])) < 0.75
