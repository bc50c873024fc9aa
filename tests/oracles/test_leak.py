"""The audit against texts whose leak is known exactly, and against slow loops."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from einthoven.audit import material as materials
from einthoven.audit import quick
from einthoven.audit import verdict as ruled
from einthoven.audit.learn import binned, entry, of_text
from einthoven.audit.masking import curve, telling
from einthoven.audit.material import CHOOSE, FIT, RARE, SCORE, Material
from einthoven.audit.overlap import mentions, says_normal, verbatim
from einthoven.audit.sites import sites
from einthoven.audit.verdict import FEW, FEWER, LINE, Standing, of_metadata, ruling, verdict
from einthoven.data.split import Split
from einthoven.evaluate.bootstrap import Interval
from einthoven.evaluate.regression import r2
from einthoven.evaluate.scores import auroc
from einthoven.policy import gives_away

COUNTS = (400, 100, 100)
NOTHING = Interval(0.0, -0.1, 0.1)


def material(texts: Sequence[str], truth: np.ndarray, **columns: Sequence[object]) -> Material:
    """Records of COUNTS, two of a patient, with some columns."""
    size = sum(COUNTS)
    frame = pd.DataFrame(
        {"patient_id": [f"p{i // 2}" for i in range(size)], "report": list(texts), **columns}
    )
    part = np.repeat(np.arange(3), COUNTS)
    labels = tuple(f"L{i}" for i in range(truth.shape[1]))
    return Material(frame, tuple(texts), part, truth.astype(float), "labels", labels)


def told_by(word: str, other: str, noise: float, seed: int = 0) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Texts with `word` where the label is 1, else `other`, but the wrong one in a share `noise`."""
    random = np.random.default_rng(seed)
    truth = random.random((sum(COUNTS), 1)) < 0.4
    said = truth[:, 0] ^ (random.random(len(truth)) < noise)
    return [f"{word if yes else other} gemessen" for yes in said], truth.astype(float), said


def figure_of(some: Material) -> float:
    value = entry(some, "text only", "", of_text(some))["auroc"]["value"]
    assert isinstance(value, float)
    return value


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_a_word_tells_a_label_as_well_as_its_noise_allows(noise: float) -> None:
    texts, truth, said = told_by("blubbernd", "quietschend", noise)
    scored = slice(-COUNTS[SCORE], None)
    yes = truth[scored, 0] == 1
    sensitivity, specificity = said[scored][yes].mean(), 1 - said[scored][~yes].mean()
    some = material(texts, truth)
    assert figure_of(some) == pytest.approx((sensitivity + specificity) / 2)
    found = verdict(some, of_text(some), of_metadata(some))
    assert found.leaky and found.text is not None and found.text["value"] == pytest.approx(figure_of(some))
    assert found.labels == (("L0",) if noise < 0.3 else found.labels)


@pytest.mark.parametrize("seed", range(5))
def test_texts_that_know_nothing_are_not_shown_to_leak(seed: int) -> None:
    random = np.random.default_rng(seed)
    words = ["links", "rechts", "steil", "flach", "hoch", "tief", "alt", "neu"]
    texts = [" ".join(random.choice(words, 4)) for _ in range(sum(COUNTS))]
    truth = (random.random((sum(COUNTS), 3)) < 0.4).astype(float)
    some = material(texts, truth, age=random.uniform(20, 90, sum(COUNTS)))
    found = verdict(some, of_text(some), of_metadata(some))
    assert found.word == "not shown to leak", found.why
    assert abs(figure_of(some) - 0.5) < 0.1


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_whether_there_is_a_text_is_judged_like_a_word(noise: float) -> None:
    _, truth, said = told_by("", "", noise)
    some = material(["" if yes else "immer dasselbe" for yes in said], truth)
    yes = truth[-COUNTS[SCORE] :, 0] == 1
    heard = said[-COUNTS[SCORE] :]
    assert figure_of(some) == pytest.approx((heard[yes].mean() + 1 - heard[~yes].mean()) / 2)
    assert verdict(some, of_text(some), of_metadata(some)).leaky
    assert quick(*whole(some), some.texts).leaky


def test_few_texts_are_judged_if_all_that_they_could_tell_stays_below_the_line() -> None:
    random = np.random.default_rng(0)
    truth = random.random((40_000, 1)) < 0.5
    for kind, share in RARE.items():
        score = np.where(
            random.random(truth.shape) < share, truth, truth.mean()
        )  # some told all, others nothing
        if kind == "regression":
            assert r2(truth.astype(float), score)[0] == pytest.approx(share, abs=0.01) and share <= LINE[kind]
        else:
            assert share + (1 - share**2) / 2 < LINE[kind]
            assert auroc(truth, score)[0] == pytest.approx(share + (1 - share**2) / 2, abs=0.01)
    truth = truth[: sum(COUNTS)]
    told = [("ja" if yes else "nein") if row % 8 == 0 else "" for row, yes in enumerate(truth[:, 0])]
    some = material(told, truth)
    assert "the train split has 50 ECGs with a text" in some.lacking()
    assert not replace(some, view="masked").lacking()
    found = quick(*whole(some), told, view="masked")  # what so few tell is seen, if it can be learned
    assert found.leaky and "above the metadata" in found.why and (found.text or {})["value"] < LINE["labels"]
    often = [
        text if row < COUNTS[FIT] else "ja" for row, text in enumerate(told)
    ]  # what a model learned to read
    assert replace(material(often, truth), view="masked").lacking()


@pytest.mark.parametrize("told", [True, False])
def test_what_a_context_tells_of_one_label_beyond_the_metadata_is_named(told: bool) -> None:
    random = np.random.default_rng(0)
    age = random.uniform(20, 90, sum(COUNTS))
    old = (age + random.normal(0, 20, len(age)) > 55)[:, None] ^ (random.random((len(age), 6)) < 0.1)
    paced = random.random(len(age)) < 0.08
    said = np.where(paced & told, ", with a pacemaker", "")
    texts = [f"{years:.0f} years old{more}" for years, more in zip(age, said, strict=True)]
    some = replace(material(texts, np.hstack([old, paced[:, None]]), age=age), view="context")
    assert FEWER <= paced[-COUNTS[SCORE] :].sum() < FEW  # too few for a full report, which has no such hurdle
    found = verdict(some, of_text(some), of_metadata(some))
    assert found.labels == (("L6",) if told else ())
    assert found.leaky == told and ("no more than the metadata" in found.why) == (not told)


def test_no_more_than_the_metadata_is_said_only_of_what_is_not_more() -> None:
    known, context = Interval(0.70, 0.6, 0.8), {"kind": "labels", "view": "context", "known": "age"}
    for gap, words in ((0.0, "no more than the metadata"), (0.03, "not well above the metadata")):
        text = Interval(0.70 + gap, 0.6, 0.8)
        said = ruling(Standing(text, known, Interval(gap, gap - 0.02, gap + 0.02), ()), **context)  # type: ignore[arg-type]
        assert said.word == "not shown to leak" and words in said.why
    said = ruling(Standing(known, known, NOTHING, ("PACE",)), **context)  # type: ignore[arg-type]
    assert said.leaky and said.labels == ("PACE",) and "tells PACE better than the metadata" in said.why


def test_swapping_patients_destroys_what_a_text_tells() -> None:
    texts, truth, _ = told_by("blubbernd", "quietschend", 0.0)
    other = np.random.default_rng(0).permutation(truth)
    assert figure_of(material(texts, truth)) == 1
    assert abs(figure_of(material(texts, other)) - 0.5) < 0.15


def test_a_label_that_an_average_hides_is_named() -> None:
    texts, truth, _ = told_by("blubbernd", "quietschend", 0.02)
    noise = np.random.default_rng(1).random((sum(COUNTS), 25)) < 0.4
    some = material(texts, np.hstack([truth, noise]))
    found = verdict(some, of_text(some), of_metadata(some))
    assert found.leaky and found.labels == ("L0",)
    assert found.text is not None and (found.text["value"] or 0) < 0.65
    assert "hides that it tells L0" in found.why


def test_the_rule_is_the_one_that_is_written_down() -> None:
    def word(
        text: Interval, metadata: float, beyond: Interval, view: str = "full", kind: str = "labels"
    ) -> str:
        standing = Standing(text, Interval(metadata, metadata, metadata), beyond, ())
        return ruling(standing, kind, view, "age").word  # type: ignore[arg-type]

    above = Interval(0.1, 0.05, 0.15)
    assert word(Interval(0.66, 0.6, 0.7), 0.8, NOTHING) == "leaky"
    assert word(Interval(0.64, 0.6, 0.7), 0.62, NOTHING) == "not shown to leak"
    assert word(Interval(0.62, 0.57, 0.7), 0.52, above) == "leaky"
    assert (
        word(Interval(0.62, 0.57, 0.7), 0.52, Interval(0.1, -0.01, 0.2)) == "not shown to leak"
    )  # by chance
    assert (
        word(Interval(0.54, 0.51, 0.57), 0.40, above) == "not shown to leak"
    )  # metadata below chance are none
    assert word(Interval(0.66, 0.49, 0.8), 0.5, Interval(0.16, -0.1, 0.3)) == "not shown to leak"
    assert word(Interval(0.75, 0.7, 0.8), 0.74, NOTHING, view="context") == "not shown to leak"
    assert word(Interval(0.85, 0.8, 0.9), 0.74, above, view="context") == "leaky"
    assert word(Interval(np.nan, np.nan, np.nan), 0.5, NOTHING) == "cannot be judged"
    assert word(Interval(0.12, 0.05, 0.2), 0.1, NOTHING, kind="regression") == "leaky"
    assert word(Interval(0.08, 0.01, 0.2), 0.1, NOTHING, kind="regression") == "not shown to leak"


def test_numbers_that_a_text_states_are_found() -> None:
    random = np.random.default_rng(0)
    place = random.integers(0, 4, sum(COUNTS))
    texts = [["niedrig", "mittelgross", "erheblich", "gewaltig"][i] for i in place]
    truth = (10.0 * place + random.normal(0, 1, sum(COUNTS)))[:, None]
    some = material(texts, truth)
    some = Material(some.records, some.texts, some.part, truth, "regression", ("y",))
    told = entry(some, "text only", "", of_text(some))
    group = [truth[(place == i) & (some.part == FIT)].mean() for i in place[-COUNTS[SCORE] :]]
    error = truth[-COUNTS[SCORE] :, 0] - group
    assert told["rmse"]["value"] == pytest.approx(np.sqrt((error**2).mean()), rel=0.05)
    assert told["r2"]["value"] > 0.98
    assert curve(some, told)[-1]["rmse"]["value"] > 5 * told["rmse"]["value"]


def test_masking_takes_away_what_the_lexicon_knows_and_no_more() -> None:
    texts, truth, _ = told_by("sinusrhythmus", "vorhofflimmern", 0.0)
    some = material(texts, truth)
    known = curve(some, entry(some, "", "", of_text(some)))
    assert [point["auroc"]["value"] for point in known[:3]] == [1.0, 0.5, 0.5]
    assert known[0]["words_left"] > known[1]["words_left"]

    texts, truth, _ = told_by("blubbernd", "quietschend", 0.0)
    some = material(texts, truth)
    unknown = curve(some, entry(some, "", "", of_text(some)))
    assert [point["auroc"]["value"] for point in unknown] == [
        1.0,
        1.0,
        1.0,
        0.5,
    ]  # then no word is left that tells
    assert set(telling(some)[:2]) == {"blubbernd", "quietschend"}


def test_the_number_of_masked_places_is_itself_a_leak() -> None:
    texts, truth, _ = told_by("sinusrhythmus", "sinusrhythmus vorhofflimmern linkshypertrophie", 0.0)
    some = material(texts, truth)
    points = curve(some, entry(some, "", "", of_text(some)))
    assert [point["auroc"]["value"] for point in points[:3]] == [1.0, 1.0, 0.5]


def test_words_are_ranked_on_train_alone() -> None:
    texts, truth, _ = told_by("blubbernd", "quietschend", 0.1)
    some = material(texts, truth)
    changed = list(texts[: COUNTS[FIT] + COUNTS[CHOOSE]]) + ["ganz anders als zuvor"] * COUNTS[SCORE]
    assert telling(material(changed, truth)) == telling(some)


def test_verbatim_overlap_is_that_of_a_slow_loop() -> None:
    random = np.random.default_rng(0)
    said = ["normales ekg"] * 20 + ["vorhofflimmern", "alter infarkt", *(f"text {i}" for i in range(60))]
    texts = [said[i] for i in random.integers(0, len(said), sum(COUNTS))]
    some = material(texts, np.zeros((sum(COUNTS), 1)))
    told = verbatim(some, some)
    taught, owner = texts[: COUNTS[FIT]], list(some.patient)
    for number, name in ((CHOOSE, "validation"), (SCORE, "test")):
        mine = [text for text, part in zip(texts, some.part, strict=True) if part == number]
        odd = [text for text in mine if not says_normal(text)]
        assert 0 < len(odd) < len(mine)
        assert told[name]["all"] == pytest.approx(sum(text in taught for text in mine) / len(mine))
        assert told[name]["not_normal"] == pytest.approx(sum(text in taught for text in odd) / len(odd))
    shared = [any(a == b and owner[i] != owner[j] for j, b in enumerate(texts)) for i, a in enumerate(texts)]
    assert told["of_several_patients"] == pytest.approx(np.mean(shared))
    assert told["unique"] == len(set(texts))


def test_what_was_not_drawn_stands_in_train_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    place = np.arange(sum(COUNTS)) % COUNTS[CHOOSE]
    whole = material([f"text {i}" for i in place], np.zeros((sum(COUNTS), 1)))
    monkeypatch.setattr(materials, "MOST", (30, 40, 50))
    drawn = whole.drawn()
    assert np.bincount(drawn.part).tolist() == [30, 40, 50]
    assert [verbatim(drawn, whole)[name]["all"] for name in ("validation", "test")] == [1.0, 1.0]
    assert verbatim(drawn, whole)["unique"] == COUNTS[CHOOSE]
    silent = material([""] * 3 + list(whole.texts[3:]), whole.truth)
    assert verbatim(silent, silent)["texts"] == sum(COUNTS) - 3


def test_label_mentions_are_codes_with_a_likelihood_or_edits() -> None:
    raws = [
        "ekg (LVH 50)",
        "Edit: NORM 100",
        "LVH",
        "lvh 50",
        "HF 120 LVH 120",
        "EDIT : bei Kontrolle",
        "redit: x",
    ]
    raws += [
        "nichts" * 20_000 + " LVH 50",
        "LVH 50 " + "nichts" * 20_000,
        "x" * 9_000 + " LVH 50 " + "x" * 9_000,
    ]
    raws += ["nichts"] * (sum(COUNTS) - len(raws))
    told = mentions(material(raws, np.zeros((sum(COUNTS), 1))), {"LVH", "NORM", "y"})
    # Of a very long report both ends are read, where a tail "Edit:" stands.
    assert [round(told[key] * len(raws)) for key in ("coded", "edited", "either")] == [4, 2, 5]


def test_a_site_is_predicted_where_the_text_names_it() -> None:
    random = np.random.default_rng(0)
    place = random.integers(0, 3, sum(COUNTS))
    texts = [["klinik nord", "hospital south", "sjukhus"][i] for i in place]
    some = material(texts, np.zeros((sum(COUNTS), 1)), site=place, device=["one"] * sum(COUNTS))
    (told,) = sites(some)  # a single device is no question
    assert told["column"] == "site" and told["accuracy"]["value"] == 1
    assert told["majority"] == pytest.approx(np.bincount(place[-COUNTS[SCORE] :]).max() / COUNTS[SCORE])
    silent = sites(material(["gleich"] * sum(COUNTS), np.zeros((sum(COUNTS), 1)), site=place))[0]
    assert silent["accuracy"]["value"] <= silent["majority"]


def test_bins_are_octiles_of_the_part_that_fits() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(60, 1))
    values[::7] = np.nan
    part = np.repeat(np.arange(3), 20)
    taught = values[(part == FIT) & ~np.isnan(values[:, 0]), 0]
    edges = [np.quantile(taught, k / 8) for k in range(1, 8)]
    table = binned(values, part)
    for line, value in zip(table, values[:, 0], strict=True):
        place = 8 if np.isnan(value) else sum(value >= edge for edge in edges)
        assert line.tolist() == [float(i == place) for i in range(9)]


def whole(some: Material) -> tuple[pd.DataFrame, np.ndarray, Split]:
    rows = [np.flatnonzero(some.part == number) for number in range(3)]
    return some.records, some.truth, Split(rows[0], rows[1], rows[2], "parts", rows[0])


def test_the_quick_verdict_does_not_look_at_the_test_split() -> None:
    texts, truth, _ = told_by("blubbernd", "quietschend", 0.1)
    records, truth, split = whole(material(texts, truth, age=[50.0] * sum(COUNTS)))
    found = quick(records, truth, split, texts, labels=("L0",))
    assert found.leaky and found.labels == ("L0",)
    other = truth.copy()
    other[split.test] = 1 - other[split.test]
    changed = [*texts[: sum(COUNTS[:2])], *["etwas anderes"] * COUNTS[SCORE]]
    assert quick(records, other, split, changed, labels=("L0",)) == found


def test_the_quick_verdict_scores_validation_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, truth, said = told_by("blubbernd", "quietschend", 0.2)
    records, truth, split = whole(material(texts, truth))
    found = quick(records, truth, split, texts)
    yes, heard = truth[split.validation, 0] == 1, said[split.validation]
    assert found.text is not None
    assert found.text["value"] == pytest.approx((heard[yes].mean() + 1 - heard[~yes].mean()) / 2)
    few = ["" if row >= 100 else text for row, text in enumerate(texts)]
    unsure = quick(records, truth, split, few)
    assert "the part of training that fits has " in unsure.why and "test" not in unsure.why
    assert [gives_away(unsure, view) for view in ("full", "masked", "context")] == [True, True, False]
    assert not gives_away(None, "full")
    nothing = quick(records, truth, split, [""] * len(texts), view="masked")
    assert nothing.word == "not shown to leak" and nothing.text == {"value": 0.5, "low": 0.5, "high": 0.5}
    assert not gives_away(nothing, "masked")
    monkeypatch.setitem(ruled.LINE, "labels", 0.99)
    monkeypatch.setattr(ruled, "BEYOND", 0.6)
    assert quick(records, truth, split, texts).word == "not shown to leak"
