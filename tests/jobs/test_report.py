"""The page of a run: all of it there, true to results.json, in one file that fetches nothing."""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from cohorts import heartbeat
from einthoven.evaluate import Answers, judge_labels, judge_regression
from einthoven.report import curves, report
from einthoven.report.folder import Figure, read_run
from einthoven.report.forest import whisker
from einthoven.report.heat import heat_map
from einthoven.report.words import fixed, span, verdict

LABELS = ("CD", "HYP", "MI", "NORM", "STTC")
SECTIONS = {
    "result",
    "data",
    "learning",
    "classes",
    "curves",
    "reliability",
    "subgroups",
    "together",
    "ecgs",
    "made",
}
VOID = {"meta", "link", "br", "hr", "img", "input"}
RECIPE = """seed = 0
[task]
name = "superdiag"
[signal]
hertz = 100.0
seconds = 2.5
[backbone]
name = "xresnet1d101"
"""
Made = tuple[dict[str, Any], Answers]


def answers(labels: Sequence[str], records: int, seed: int) -> Answers:
    """Probabilities that know something of the truth, two ECGs a patient."""
    rng = np.random.default_rng(seed)
    share = np.linspace(0.45, 0.05, len(labels))
    truth = (rng.random((records, len(labels))) < share).astype(float)
    score = 1 / (1 + np.exp(-1.4 * (rng.normal(np.log(share / (1 - share)), 1.2, truth.shape) + 2.4 * truth)))
    patient = np.array([f"p{n // 2}" for n in range(records)], dtype=object)
    sex = np.array([["female", "male"][n % 2] for n in range(records)], dtype=object)
    return Answers(truth, score, patient, rng.uniform(20, 90, records), sex, tuple(labels))


def interval(value: float, half: float) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def counted(test: Answers, *, positives: bool) -> dict[str, Any]:
    sizes = {"train": 2348, "validation": 333, "test": len(test.patient)}
    counts = {split: {"records": n, "patients": n // 2, "positives": {}} for split, n in sizes.items()}
    for count in counts.values() if positives else ():
        shares = zip(test.labels, np.nanmean(test.truth, axis=0), strict=True)
        count["positives"] = {label: round(count["records"] * share) for label, share in shares}
    return counts


def example(number: int, why: str, truth: Any, score: dict[str, float], label: str) -> dict[str, Any]:
    who = {"record_id": f"r{number}", "patient_id": f"p{number}", "age": 63.0, "sex": "female"}
    return {
        "why": why,
        "hertz": 100,
        "truth": truth,
        "score": score,
        "label": label,
        "start": 0,
        "stop": 1000,
    } | who


def judged(labels: Sequence[str] = LABELS, *, records: int = 300, kind: str = "labels") -> Made:
    """Real figures of made-up answers."""
    test = answers(labels, records, 1)
    results: dict[str, Any] = judge_labels(answers(labels, records, 2), test, resamples=40)
    auroc = results["test"]["auroc"]["macro"]["value"]
    rows = [
        ("prevalence", 0.5, 0.0),
        ("age + sex", 0.68, 0.04),
        ("random encoder + linear probe", auroc - 0.06, 0.02),
    ]
    rows += [("random kernels + logistic regression", auroc - 0.01, 0.02)]
    score = dict(zip(labels, np.linspace(0.98, 0.02, len(labels)).tolist(), strict=True))
    first, last = labels[0], labels[-1]
    results |= {
        "format": 1,
        "task": {"name": "superdiag", "kind": kind, "labels": list(labels), "unit": None},
        "model": {"backbone": "xresnet1d101", "head": "linear", "parameters": 1872261},
        "counts": counted(test, positives=True),
        "left_out": {"no label": 12, "too short": 0},
        "split": "folds of the store",
        "rows": [
            {"name": n, "what": "one line", "auroc": interval(v, h), "seconds": 22.0} for n, v, h in rows
        ],
        "examples": [
            example(0, "surest hit", [first], score, first),
            example(1, "surest hit", [first, last], score, first),
            example(2, "worst miss", [], score, first),
            example(3, "worst miss", [last], score, last),
        ],
        "seconds": {"train": 328.0, "evaluate": 12.0},
    }
    return results, test


def measured(records: int = 300) -> Made:
    rng = np.random.default_rng(3)
    truth = rng.normal(15, 6, (records, 1))
    base = answers(["pcwp"], records, 4)
    score = 15 + 0.6 * (truth - 15) + rng.normal(0, 3, truth.shape)
    test = Answers(truth, score, base.patient, base.age, base.sex, ("pcwp",))
    results: dict[str, Any] = judge_regression(test, test, resamples=40)
    results |= {
        "format": 1,
        "task": {"name": "pcwp", "kind": "regression", "labels": ["pcwp"], "unit": "mmHg"},
        "model": {"backbone": "resnet1d_wang", "head": "linear", "parameters": 481863},
        "counts": counted(test, positives=False),
        "rows": [
            {
                "name": "mean predictor",
                "what": "of the training set",
                "rmse": interval(6.0, 0.3),
                "seconds": 0.0,
            }
        ],
        "examples": [
            example(0, "surest hit", [31.2], {"pcwp": 30.9}, "pcwp"),
            example(1, "worst miss", [31.2], {"pcwp": 12.0}, "pcwp"),
        ],
        "seconds": {"train": 100.0, "evaluate": 2.0},
    }
    return results, test


def logged(epochs: int) -> pd.DataFrame:
    """A log that looks at the validation split every fifth epoch."""
    at = np.arange(1, epochs + 1)
    seen = (at % 5 == 0) | (at == epochs)
    lines = {"epoch": at * 1.0, "step": at * 19, "lr": 0.01 * np.sin(np.pi * at / (epochs + 1))}
    lines |= {"loss": 0.25 + 0.4 * np.exp(-at / 10), "records_per_second": 508.0, "waiting": 0.01}
    lines |= {"validation_loss": np.where(seen, 0.33 + 0.3 * np.exp(-at / 8), np.nan)}
    return pd.DataFrame(lines | {"validation_auroc": np.where(seen, 0.9 - 0.3 * np.exp(-at / 8), np.nan)})


def write_run(folder: Path, made: Made, *, epochs: int = 50, store: dict[str, Any] | None = None) -> Path:
    """Write a finished run folder around judged answers."""
    results, test = made
    folder.mkdir(parents=True)
    table = {"record_id": [f"r{n}" for n in range(len(test.patient))], "patient_id": test.patient}
    table |= {"store_row": range(len(test.patient)), "split": "test", "age": test.age, "sex": test.sex}
    for number, label in enumerate(test.labels):
        table |= {f"truth/{label}": test.truth[:, number], f"score/{label}": test.score[:, number]}
    lines = pd.DataFrame(table)
    lines = pd.concat([lines.assign(split="validation", **{f"score/{test.labels[0]}": 0.123})[:9], lines])
    lines.to_parquet(folder / "predictions.parquet")
    rng = np.random.default_rng(0)
    np.save(folder / "examples.npy", np.stack([heartbeat(rng) for _ in range(len(results["examples"]) or 1)]))
    logged(epochs).to_csv(folder / "log.csv", index=False)
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    whole = {"path": "stores/ptbxl", "title": "PTB-XL 1.0.3", "source": "ptbxl", "synthetic": False}
    whole |= {"fingerprint": "3f9a1c", "records": 2846, "patients": 2500} | (store or {})
    environment = {
        "versions": {"torch": "2.13.0"},
        "git": "abc1234",
        "store": whole,
        "seed": 7,
        "device": "cpu",
    }
    (folder / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    return folder


class Page(HTMLParser):
    """Reads a page strictly: every tag closed, in order; collects what the tests look at."""

    def __init__(self, text: str):
        super().__init__()
        self.text, self.open, self.ids, self.links, self.fetched = text, [], [], [], []
        self.tags: list[str] = []
        self.rows: list[list[str]] = []
        self.sections: dict[str, str] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        assert len(said) == len(attrs), f"an attribute twice in {tag}"
        self.tags.append(tag)
        self.ids += [said["id"]] if "id" in said else []
        self.links += [said["href"]] if tag == "a" else []
        self.fetched += [
            v for k, v in attrs if k in ("src", "srcset", "data", "xlink:href", "poster", "action")
        ]
        self.fetched += [v for k, v in attrs if k == "href" and tag != "a"]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if ("td" in self.open or "th" in self.open) and "svg" not in self.open:
            self.rows[-1][-1] += data

    def row(self, name: str, cells: int) -> list[str]:
        """The one row that begins with a name and has that many cells."""
        (found,) = (
            [" ".join(c.split()) for c in r]
            for r in self.rows
            if r and r[0].strip() == name and len(r) == cells
        )
        return found

    def drawings(self) -> list[str]:
        return re.findall(r"<svg.*?</svg>", self.text, re.DOTALL)


def page_of(folder: Path, made: Made, **more: Any) -> Page:
    return Page(report(write_run(folder, made, **more)).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def made() -> Made:
    return judged()


@pytest.fixture(scope="module")
def page(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(tmp_path_factory.mktemp("runs") / "first", made)


def words_of(page: Page) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page.text).split())


def test_every_section_is_there_and_every_link_leads_somewhere(page: Page) -> None:
    assert set(page.ids) >= SECTIONS
    assert len(page.ids) == len(set(page.ids))
    assert {link for link in page.links if link} <= {f"#{name}" for name in page.ids}


def test_the_page_fetches_nothing_and_runs_nothing(page: Page) -> None:
    assert set(page.fetched) == {"data:,"}  # an empty icon, so that no browser asks for one
    assert not {"script", "iframe", "object", "embed", "img", "base"} & set(page.tags)
    assert "url(" not in page.text and "@import" not in page.text and "javascript:" not in page.text
    assert "default-src 'none'" in page.text
    assert set(re.findall(r"https?://[^\"' <]+", page.text)) == {
        "http://www.w3.org/2000/svg"
    }  # a name, not a place


def test_every_drawing_is_sound_and_says_what_it_shows(page: Page) -> None:
    assert len(page.drawings()) > 30
    for drawing in page.drawings():
        svg = ElementTree.fromstring(drawing)
        assert svg.attrib.get("aria-hidden") == "true" or (
            svg.attrib["role"] == "img" and svg.attrib["aria-label"]
        )
        assert "nan" not in drawing.lower().replace("nance", "")


def test_the_figures_of_each_class_are_those_of_the_results(page: Page, made: Made) -> None:
    results, _ = made
    keys = ("auroc", "auprc", "f1", "sensitivity", "specificity", "brier", "ece")
    for label in LABELS:
        row = page.row(label, 10)
        assert row[1] == str(results["counts"]["test"]["positives"][label])
        for cell, key in zip(row[2:9], keys, strict=True):
            told = results["test"][key]["per_label"][label]
            assert cell == f"{told['value']:.3f} {told['low']:.3f}–{told['high']:.3f}"
        assert row[9] == f"{results['thresholds'][label]:.3f}"
    macro = page.row("Macro mean", 10)
    assert [cell.split()[0] for cell in macro[2:9]] == [
        f"{results['test'][k]['macro']['value']:.3f}" for k in keys
    ]


def test_the_headline_stands_beside_the_honest_rows_best_first(page: Page, made: Made) -> None:
    results, _ = made
    auroc = results["test"]["auroc"]["macro"]
    told = f"{auroc['value']:.3f} macro AUROC on the test set 95 % interval "
    assert told + f"{auroc['low']:.3f}–{auroc['high']:.3f}" in words_of(page)
    words = words_of(page)
    assert f"validation {results['validation']['auroc']['macro']['value']:.3f}" in words
    shown = [
        float(row[2].split()[0]) for row in page.rows if len(row) == 4 and re.match(r"\d\.\d", row[2].strip())
    ]
    honest = [row["auroc"]["value"] for row in results["rows"]]
    assert shown == [round(value, 3) for value in sorted([auroc["value"], *honest], reverse=True)]
    assert (
        "learned 5 labels (CD, HYP, MI, NORM, STTC) from 2,348 ECGs of 1,174 patients of PTB-XL 1.0.3"
        in words
    )
    assert "Not a medical device" in words


def test_counts_subgroups_and_facts_are_those_of_the_run(page: Page, made: Made) -> None:
    results, _ = made
    assert [cell.split()[0] for cell in page.row("ECGs", 4)[1:]] == ["2,348", "333", "300"]
    positives = [results["counts"][split]["positives"]["MI"] for split in ("train", "validation", "test")]
    assert [cell.split()[0] for cell in page.row("MI", 4)[1:]] == [f"{number:,}" for number in positives]
    for group in results["subgroups"]:
        row = page.row(f"{group['column']}: {group['value']}", 5)
        assert row[2].split()[0] == f"{group['auroc']['value']:.3f}"
        assert row[3:] == [str(group["records"]), str(group["patients"])]
    words = words_of(page)
    for fact in (
        "12 ECGs: no label",
        "by folds of the store",
        "3f9a1c",
        "windows of 2.5 s at 100 Hz",
        "train 5 min",
    ):
        assert fact in words
    assert "einthoven train" in words and "--data stores/ptbxl" in words and "too short" not in words


@pytest.mark.parametrize(
    ("best", "gain", "kind"),
    [
        (interval(0.60, 0.02), None, "above"),
        (interval(0.99, 0.005), None, "below"),
        (None, None, "noise"),
        (None, interval(0.01, 0.005), "above"),  # paired: the same ECGs were hard for both
        (None, interval(-0.01, 0.005), "below"),
        (interval(0.60, 0.02), interval(0.3, 0.4), "noise"),
    ],
)
def test_the_verdict_follows_from_the_intervals(
    made: Made, tmp_path: Path, best: dict[str, float] | None, gain: dict[str, float] | None, kind: str
) -> None:
    results = copy.deepcopy(made[0])
    results["rows"] = results["rows"][-1:]
    results["rows"][0]["auroc"] = best or results["rows"][0]["auroc"]
    results["rows"][0] |= {"gain": gain} if gain else {}
    run = read_run(write_run(tmp_path / "run", (results, made[1])))
    assert verdict(run).kind == kind


@pytest.mark.parametrize(("gain", "kind"), [(-1.0, "above"), (1.0, "below")])
def test_less_error_is_better(tmp_path: Path, gain: float, kind: str) -> None:
    results, test = measured()
    results["rows"][0]["gain"] = interval(gain, 0.5)
    run = write_run(tmp_path / "run", (results, test))
    assert verdict(read_run(run)).kind == kind
    sign = "−" if gain < 0 else "+"
    low, high = (f"{sign}{n:.2f}" for n in ((1.5, 0.5) if gain < 0 else (0.5, 1.5)))
    row = Page(report(run).read_text(encoding="utf-8")).row("mean predictor of the training set", 5)
    assert row[3] == f"{sign}1.00 {low} to {high}"


def test_no_honest_row_is_no_verdict(made: Made, tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", (made[0] | {"rows": []}, made[1])))
    assert verdict(run).kind == "alone"


@pytest.mark.parametrize("synthetic", [True, False])
def test_made_up_ecgs_say_so_on_the_page_and_on_each_ecg(made: Made, tmp_path: Path, synthetic: bool) -> None:
    title = "einthoven synthetic cohort (made-up ECGs)" if synthetic else "PTB-XL 1.0.3"
    store = {
        "synthetic": synthetic,
        "source": "synthetic" if synthetic else "ptbxl",
        "title": title,
        "records": 21799,
    }
    page = page_of(tmp_path / "run", made, store=store)
    assert ("MADE-UP ECGs." in page.text) == synthetic
    assert page.text.count(">MADE-UP ECG<") == (4 if synthetic else 0)
    assert ("treat this page as patient data" in page.text) != synthetic
    assert "not comparable" not in page.text


def test_a_part_of_a_known_set_is_called_a_part(page: Page) -> None:
    assert "2,846 of the 21,799 records" in page.text and "not comparable with published results" in page.text


def test_odd_labels_are_text_and_nothing_else(tmp_path: Path) -> None:
    odd = ['<b>&"', "Größe/µV", "a'b", "<script>alert(1)</script>", "{{ 7 * 7 }}"]
    page = page_of(tmp_path / "run", judged(odd, records=120))
    for label in odd:
        assert page.row(label, 10)
    assert "script" not in page.tags and odd[0] not in page.text and "{{ 7 * 7 }}" in page.text
    for drawing in page.drawings():
        ElementTree.fromstring(drawing)


def test_what_has_no_figure_is_named_and_never_a_number(tmp_path: Path) -> None:
    results, test = judged(records=120)
    test.truth[:, 2] = 0.0  # nobody has MI
    test.truth[:5, 3] = np.nan  # and of some nobody knows whether they are normal
    again = judge_labels(answers(LABELS, 120, 2), test, resamples=40)
    page = page_of(tmp_path / "run", (results | again, test))
    assert again["test"]["auroc"]["undefined"] == ["MI"]
    assert page.row("MI", 10)[2] == "–"
    assert re.search(r"Not defined,.* ECG: MI\.", words_of(page))
    assert "without MI" in words_of(page)
    for lost in again["test"]["auroc"]["dropped"]:
        assert re.search(rf"their macro mean: .*{lost} in", words_of(page))
    assert not re.search(r"\b(nan|None|inf)\b", words_of(page))


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_log_of_one_epoch_is_a_dot(made: Made, tmp_path: Path, epochs: int) -> None:
    page = page_of(tmp_path / "run", made, epochs=epochs)
    assert page.text.count("lowest") >= 2


def test_runs_without_a_log_or_ecgs_still_have_a_page(made: Made, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", (made[0] | {"examples": []}, made[1]))
    (run / "log.csv").unlink()
    (run / "examples.npy").unlink()
    words = words_of(Page(report(run).read_text(encoding="utf-8")))
    assert "no log of its training" in words and "kept no ECGs" in words


def test_71_labels_stay_readable_and_light(tmp_path: Path) -> None:
    labels = [f"L{n:02d}" for n in range(71)]
    page = page_of(tmp_path / "run", judged(labels, records=400))
    assert len(page.text.encode()) < 1_500_000
    assert all(page.row(label, 10) for label in labels)
    assert "The other 59 of 71 classes" in words_of(page)
    assert page.text.count("ROC curve of") == 71


def test_the_page_is_small(page: Page) -> None:
    assert len(page.text.encode()) < 400_000


def test_ecgs_are_shown_with_truth_and_scores(page: Page) -> None:
    words = words_of(page)
    for said in (
        "Rightly sure of CD: scored 0.98",
        "False alarm for CD: scored 0.98",
        "The record has none of the labels.",
        "Missed STTC: scored 0.02",
        "Record r0 · woman, 63 years",
    ):
        assert said in words
    assert page.text.count('class="trace"') == 4 * 13


@pytest.mark.parametrize(
    ("label", "score", "said"),
    [
        ("CD", 0.4, "Rightly called CD: scored 0.40 (threshold 0.30)"),
        ("CD", 0.2, "Missed CD: scored 0.20"),
        ("MI", 0.4, "False alarm for MI: scored 0.40"),
        ("MI", 0.2, "Rightly not called MI: scored 0.20"),
    ],
)
def test_an_answer_is_right_or_wrong_by_its_threshold(
    made: Made, tmp_path: Path, label: str, score: float, said: str
) -> None:
    scores = dict.fromkeys(LABELS, 0.1) | {label: score}
    results = made[0] | {
        "thresholds": dict.fromkeys(LABELS, 0.3),
        "examples": [example(0, "worst miss", ["CD"], scores, label)],
    }
    assert said in words_of(page_of(tmp_path / "run", (results, made[1])))


def test_of_exclusive_classes_the_highest_is_called(tmp_path: Path) -> None:
    results, test = judged(kind="multiclass")
    scores = dict.fromkeys(LABELS, 0.1) | {"MI": 0.6}
    results["thresholds"] = dict.fromkeys(LABELS, 0.05)
    results["examples"] = [example(n, "worst miss", ["MI"], scores, x) for n, x in enumerate(("MI", "CD"))]
    words = words_of(page_of(tmp_path / "run", (results, test)))
    assert "Rightly called MI: scored 0.60." in words and "Rightly not called CD: scored 0.10." in words


def test_what_was_not_recorded_is_not_drawn(made: Made, tmp_path: Path) -> None:
    one = example(0, "surest hit", ["CD"], dict.fromkeys(LABELS, 0.9), "CD") | {"absent": "V1 V2"}
    run = write_run(tmp_path / "run", (made[0] | {"examples": [one]}, made[1]))
    ecgs = np.load(run / "examples.npy")
    ecgs[0, 6:8], ecgs[0, 4, 260:300] = 0, np.nan  # absent leads as a store has them, and a gap in aVL
    np.save(run / "examples.npy", ecgs)
    text = report(run).read_text(encoding="utf-8")
    assert text.count("not recorded") == 2 and "flat" not in text.split('id="ecgs"')[1]
    paths = dict(re.findall(r'class="trace" data-lead="(\w+)" data-zero="[^"]*" d="([^"]*)"', text))
    assert paths["aVL"].count("M") == 2 and paths["aVF"].count("M") == 1
    assert paths["V1"] == paths["V2"] == "M0 0" and len(paths["V3"]) > 20


def test_unknown_patients_are_not_counted(made: Made, tmp_path: Path) -> None:
    words = words_of(page_of(tmp_path / "run", made, store={"patients_named": False}))
    for wrong in (
        "no patient in two",
        "resamples patients",
        "150 patients",
        "treat patients",
        "resampled patients",
    ):
        assert wrong not in words, wrong
    assert (
        "tested on 300 ECGs it had never seen. The patients are unknown: each ECG counts as its own." in words
    )
    assert "one person may be in two" in words and "resamples ECGs" in words
    named = words_of(page_of(tmp_path / "named", made))
    assert "tested on 300 ECGs of 150 patients it had never seen." in named and "unknown:" not in named
    assert "no patient in two" in named and "resamples patients" in named


@pytest.mark.parametrize(("patients", "kind"), [(9, "few"), (10, "above")])
def test_a_handful_of_patients_is_no_verdict(made: Made, tmp_path: Path, patients: int, kind: str) -> None:
    results = copy.deepcopy(made[0])
    results["rows"] = [results["rows"][-1] | {"auroc": interval(0.5, 0.0)}]
    results["counts"]["test"] |= {"patients": patients}
    run = write_run(tmp_path / "run", (results, made[1]))
    assert verdict(read_run(run)).kind == kind
    words = words_of(Page(report(run).read_text(encoding="utf-8")))
    assert ("Cannot be judged. The test set holds 9 patients, fewer than 10" in words) == (kind == "few")


def test_a_regression_shows_agreement_instead_of_classes(tmp_path: Path) -> None:
    made = measured()
    page = page_of(tmp_path / "run", made)
    assert "numbers" in page.ids and not {"classes", "curves", "reliability", "together"} & set(page.ids)
    told = made[0]["test"]
    assert page.row("Root mean squared error", 2)[1].startswith(f"{told['rmse']['value']:.2f} mmHg")
    assert page.row("Pearson r", 2)[1].startswith(f"{told['pearson']['value']:.3f} ")
    assert page.row("Calibration slope: measured per predicted, 1 is best", 2)[1].startswith(
        f"{told['calibration_slope']['value']:.3f} "
    )
    assert page.row("Calibration intercept: measured where predicted is 0", 2)[1].startswith(
        f"{fixed(told['calibration_intercept']['value'], 2)} mmHg"
    )
    assert not any(cell.startswith("AUROC of") for row in page.rows for cell in row)
    assert page.row("Lower limit of agreement", 2)[1].startswith(fixed(told["limit_low"]["value"], 2))
    words = words_of(page)
    assert "mean predictor" in words and "The network stands clearly better than the best honest row" in words
    assert "predicted 30.9 mmHg, measured 31.2 mmHg" in words
    clouds = [re.search(r'class="cloud" d="([^"]*)"', svg) for svg in page.drawings()]
    assert [cloud[1].count("M") for cloud in clouds if cloud] == [300, 300]


def test_a_regression_may_be_judged_above_a_threshold(tmp_path: Path) -> None:
    results, test = measured()
    asked = judge_regression(test, test, above=18.0, resamples=40)["test"]
    page = page_of(tmp_path / "run", (results | {"test": asked}, test))
    high = int((test.truth > 18).sum())
    assert page.row("AUROC of > 18 mmHg", 2)[1].startswith(f"{asked['above']['auroc']['value']:.3f} ")
    name = f"AUPRC of > 18 mmHg ({high} of 300 ECGs)"
    assert page.row(name, 2)[1].startswith(f"{asked['above']['auprc']['value']:.3f} ")
    nobody = judge_regression(test, test, above=99.0, resamples=5)["test"]
    page = page_of(tmp_path / "other", (results | {"test": nobody}, test))
    assert page.row("AUROC of > 99 mmHg", 2)[1].strip() == "–"


def test_exclusive_classes_get_a_confusion_table(tmp_path: Path) -> None:
    made = judged(records=150, kind="multiclass")
    page = page_of(tmp_path / "run", made)
    (heat,) = (svg for svg in page.drawings() if 'class="heat"' in svg)
    svg = ElementTree.fromstring(heat)
    cells = [int(t.text or 0) for g in svg.iter("g") if "count" in g.attrib.get("class", "") for t in g]
    assert sum(cells) == 150


def test_writing_again_gives_the_same_bytes_and_leaves_nothing_behind(made: Made, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", made)
    first = report(run).read_bytes()
    before = sorted(path.name for path in run.iterdir())
    assert report(run).read_bytes() == first
    assert sorted(path.name for path in run.iterdir()) == before


def spoil_json(run: Path) -> None:
    (run / "results.json").write_text("{")


def spoil_format(run: Path) -> None:
    (run / "results.json").write_text('{"format": 99}')


def spoil_predictions(run: Path) -> None:
    lines = pd.read_parquet(run / "predictions.parquet")
    lines.drop(columns="score/MI").to_parquet(run / "predictions.parquet")


def spoil_examples(run: Path) -> None:
    np.save(run / "examples.npy", np.zeros((1, 12, 1000), np.float32))


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (
            lambda run: (run / "results.json").unlink(),
            "has no results.json: training has not finished; resume with",
        ),
        (lambda run: (run / "predictions.parquet").unlink(), "has no predictions.parquet"),
        (lambda run: (run / "environment.json").unlink(), "has no environment.json"),
        (spoil_json, "is not valid JSON"),
        (spoil_format, "has format 99, this einthoven reads 1"),
        (spoil_predictions, "has no column 'score/MI'"),
        (spoil_examples, "has 1 ECGs, results.json lists 4"),
    ],
)
def test_a_run_that_is_not_whole_is_refused_in_one_line(
    made: Made, tmp_path: Path, spoil: Any, line: str
) -> None:
    run = write_run(tmp_path / "run", made)
    spoil(run)
    with pytest.raises(ValueError, match=re.escape(line)) as refused:
        report(run)
    assert "\n" not in str(refused.value) and str(run) in str(refused.value)
    assert not (run / "report.html").exists()


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a run folder"):
        report(tmp_path / "nowhere")


def test_colours_have_contrast_in_light_and_dark() -> None:
    style = (Path(curves.__file__).parent / "style.css").read_text(encoding="utf-8")
    for theme in re.findall(r":root \{([^}]*--page[^}]*)\}", style):
        colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]+)", theme))
        pairs = [(name, "page") for name in ("ink", "quiet", "one", "two", "three", "good", "warn", "bad")]
        for ink, paper in [
            *pairs,
            ("ink", "faint"),
            ("warn", "faint"),
            ("banner-ink", "banner"),
            ("on-one", "one"),
        ]:
            assert contrast(colour[ink], colour[paper]) >= 4.5, (ink, paper)


def contrast(one: str, two: str) -> float:
    """The ratio of WCAG 2.1."""

    def light(colour: str) -> float:
        full = "".join(2 * c for c in colour[1:]) if len(colour) == 4 else colour[1:]
        parts = [int(full[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, bright = sorted((light(one), light(two)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("ties", [True, False])
def test_roc_and_precision_recall_are_scikit_learns(ties: bool) -> None:
    from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

    rng = np.random.default_rng(5)
    truth = rng.random(200) < 0.3
    score = rng.normal(truth * 1.0)
    score = score.round(1) if ties else score
    ours, (x, y, _) = curves.roc(truth, score), roc_curve(truth, score, drop_intermediate=False)
    np.testing.assert_allclose(ours.x, x)
    np.testing.assert_allclose(ours.y, y)
    assert auc(ours.x, ours.y) == pytest.approx(roc_auc_score(truth, score), abs=1e-12)
    pr, (precision, recall, _) = curves.precision_recall(truth, score), precision_recall_curve(truth, score)
    np.testing.assert_allclose(pr.x, recall[-2::-1])
    np.testing.assert_allclose(pr.y, precision[-2::-1])
    area = (np.diff(pr.x, prepend=0.0) * pr.y).sum()
    assert area == pytest.approx(average_precision_score(truth, score), abs=1e-12)


def test_the_point_of_a_threshold_by_counting() -> None:
    truth, score = np.array([True, True, True, False, False]), np.array([0.9, 0.5, 0.2, 0.6, 0.1])
    assert curves.at_threshold(truth, score, 0.5) == (1 / 2, 2 / 3, 2 / 3)  # 0.5 itself is positive
    assert curves.at_threshold(truth, score, 2.0) == (0.0, 0.0, 0.0)


def test_reliability_is_that_of_the_ece_with_wilsons_interval() -> None:
    from scipy.stats import binomtest

    rng = np.random.default_rng(6)
    score = rng.random(500)
    truth = (rng.random(500) < score**2).astype(float)
    bins = curves.reliability(truth, score)
    order = np.argsort(score)
    for number, part in enumerate(np.array_split(order, 10)):
        assert bins.records[number] == len(part)
        assert bins.predicted[number] == pytest.approx(score[part].mean())
        assert bins.observed[number] == pytest.approx(truth[part].mean())
        known = binomtest(int(truth[part].sum()), len(part)).proportion_ci(0.95, method="wilson")
        assert (bins.low[number], bins.high[number]) == pytest.approx((known.low, known.high))


def test_labels_together_by_a_slow_loop() -> None:
    truth = np.random.default_rng(7).random((50, 4)) < 0.4
    counts = curves.together(truth)
    for i in range(4):
        for j in range(4):
            assert counts[i, j] == sum(bool(line[i] and line[j]) for line in truth)
    drawn = ElementTree.fromstring(heat_map(counts, ["a", "b", "c", "d"], own=False, label="x"))
    shown = [int(t.text or 0) for g in drawn.iter("g") if "count" in g.attrib.get("class", "") for t in g]
    assert sorted(shown) == sorted(counts[counts > 0].tolist())
    (diagonal,) = (p for p in drawn.iter("path") if p.attrib["class"] == "self")
    assert diagonal.attrib["d"].count("M") == 4


def test_a_whisker_stands_where_its_numbers_say() -> None:
    svg = ElementTree.fromstring(whisker(Figure(0.75, 0.625, 0.875), (0.5, 1.0), reference=0.5))
    (dot,), (reference, reach) = svg.findall("circle"), svg.findall("line")
    assert float(dot.attrib["cx"].rstrip("%")) == 50
    assert [float(reach.attrib[k].rstrip("%")) for k in ("x1", "x2")] == [26, 74]
    assert reference.attrib["x1"] == "2.00%"


def test_intervals_below_zero_are_not_misread() -> None:
    assert span(Figure(-1, -2, 0.5), 1) == "−2.0 to 0.5"
    assert span(Figure(1, 0.5, 2), 1) == "0.5–2.0"
    assert span(Figure(1, float("nan"), 2)) == ""


def test_the_report_needs_no_torch() -> None:
    told = "import sys, einthoven.report as r; print({'torch', 'matplotlib'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
