"""The audit of a store: figures, lines, and what a user may get wrong."""

import json
import subprocess
import sys
import time
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cohorts import store_of
from einthoven.audit import audit, audit_job, material
from einthoven.data.store import Store
from einthoven.data.task import UNLABELLED, find_task
from einthoven.policy import reports_of, texts_of

TASK = {"name": "kinds"}


def rows(count: int = 260, *, reports: bool = True) -> list[dict[str, Any]]:
    """Records whose report names the rhythm, in two languages, as two sites write."""
    random = np.random.default_rng(0)
    made = []
    for number in range(count):
        ill, place = bool(random.random() < 0.5), int(random.random() < 0.5)
        words = (("Sinusrhythmus", "Vorhofflimmern"), ("Sinus rhythm", "Atrial fibrillation"))[place][ill]
        report = f"{words}. {random.choice(['Linkstyp', 'Steiltyp', 'left axis deviation'])}."
        made.append(
            {
                "kinds": ["AFIB"] if ill else ["SR"],
                "report": report if reports and number % 10 else "",
                "site": str(place),
                "fold": number % 10 // 4 * 4 + 2 if number % 10 < 8 else 9 + number % 2,
                "age": float(random.integers(20, 90)),
                "sex": ("female", "male")[number % 2],
                "size": float(ill) + random.normal(0, 0.1),
            }
        )
    return made


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(material, "ENOUGH", (50, 10, 10))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_of(tmp_path_factory.mktemp("audit") / "store", rows())


def test_tells_what_it_found_and_writes_it(store: Store, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    out = tmp_path / "new" / "audit.json"
    told = audit_job(store, find_task(store, TASK), out=out, progress=lambda a, b: seen.append((a, b)))
    assert told[1].startswith("Verdict: LEAKY. The text alone reaches macro AUROC 1.000")
    assert told[-1] == f"Figures: {out}"
    for start in (
        "text only",
        "style only",
        "metadata only",
        "verbatim",
        "label mentions",
        "site",
        "masking",
    ):
        assert sum(line.startswith(start) for line in told) == 1, start
    assert seen[0][0] == 1 and seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["verdict"]["word"] == "leaky" and found["verdict"]["labels"] == ["AFIB", "SR"]
    assert [row["name"] for row in found["rows"]] == ["text only", "style only", "metadata only"]
    assert found["counts"]["test"]["records"] == 26 and found["format"] == 1
    assert found["shift"]["no text"]["train"] == pytest.approx(26 / 208)
    assert found["shift"]["automatic"]["train"] == 0
    assert found["sites"][0]["accuracy"]["value"] > found["sites"][0]["majority"]
    assert found["curve"][1]["auroc"]["value"] < 0.75 < found["curve"][0]["auroc"]["value"]


def test_each_view_is_audited_as_it_is_seen(store: Store) -> None:
    task = find_task(store, TASK)
    masked = audit(store, task, view="masked")  # the lexicon knows every word
    assert masked.verdict.word == "not shown to leak" and masked.rows[0]["auroc"]["value"] == 0.5
    assert masked.counts["train"]["records"] == 0 and not masked.curve and masked.verbatim["unique"] == 0
    context = audit(store, task, view="context")
    assert context.verdict.word == "not shown to leak"
    assert not context.verbatim and not context.curve and not context.mentions
    assert [row["name"] for row in context.rows] == ["text only", "metadata only"]
    assert context.counts["test"]["records"] == 26 and context.counts["train"]["records"] == 208


def test_numbers_have_the_mean_beside_them(store: Store) -> None:
    found = audit(store, find_task(store, {"column": "size", "kind": "regression"}))
    names = [row["name"] for row in found.rows]
    assert names == ["text only", "style only", "metadata only", "mean"]
    assert found.rows[0]["r2"]["value"] > 0.8 > 0.1 > found.rows[3]["r2"]["value"]
    assert found.verdict.leaky and any(line.startswith("text only: RMSE") for line in found.lines())


def test_what_is_asked_for_is_no_metadata(store: Store) -> None:
    found = audit(store, find_task(store, {"column": "age", "kind": "regression"}), view="context")
    assert found.rows[1]["what"].startswith("sex, ")
    assert found.rows[0]["r2"]["value"] > found.rows[1]["r2"]["value"] + 0.3
    assert found.verdict.leaky  # the text says the age that is asked for


def test_two_audits_of_one_seed_agree(store: Store) -> None:
    task = find_task(store, TASK)
    first, second = (audit(store, task).to_json() | {"seconds": 0} for _ in range(2))
    assert first == second


def test_strange_reports_are_read_like_others(tmp_path: Path) -> None:
    odd = rows()
    for number in range(1, 60, 3):
        odd[number]["report"] = [
            "Tahti on tasainen.",
            "\x00\x07Rhythm\x1b[31m\u202e?",
            "心房細動",
            "\ud7ff \t\r\n?",
        ][number % 4]
    odd[5]["report"] = "Vorhofflimmern " * 7_000  # 100 kB
    store = store_of(tmp_path / "store", odd)
    began = time.perf_counter()
    found = audit(store, find_task(store, TASK))
    assert time.perf_counter() - began < 10
    assert found.verdict.leaky
    assert (found.shift["unknown"]["train"] or 0) > 0.02
    assert all(line.isprintable() and len(line) <= 110 for line in found.lines()[1:])


def test_few_texts_cannot_be_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = rows(120)
    for row in few:
        row["report"] = row["report"] if row["fold"] < 9 else ""
    store = store_of(tmp_path / "store", few)
    found = audit(store, find_task(store, TASK))
    assert found.verdict.word == "cannot be judged" and not found.rows
    assert "the validation split has 0 ECGs with a text" in found.verdict.why
    assert found.verbatim["test"]["all"] is None
    assert any(line.startswith("Verdict: CANNOT BE JUDGED.") for line in found.lines())


def test_a_large_store_is_drawn_from(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(material, "MOST", (120, 20, 20))
    found = audit(store, find_task(store, TASK))
    drawn = [line["records"] for line in found.counts.values()]
    assert all(count <= most for count, most in zip(drawn, (120, 20, 20), strict=True))
    assert drawn[0] > 90 and found.verdict.leaky
    assert found.verbatim["texts"] == 182 + 26 + 26  # what repeats is counted in all


def test_who_has_a_report_at_all_may_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(material, "ENOUGH", (50, 5, 5))
    said = rows()
    for row in said:
        row["report"] = "Am Geraet Nummer vier." if row["kinds"] == ["AFIB"] else ""
    store = store_of(tmp_path / "store", said)
    found = audit(store, find_task(store, TASK))
    assert found.verdict.leaky and found.verdict.labels == ("AFIB", "SR")
    assert found.rows[0]["auroc"]["value"] == 1.0
    assert found.curve[0]["words_left"] == 4.0  # of a text, not of a record


@pytest.mark.parametrize("policy", [{"view": "context"}, {"view": "none"}])
def test_views_that_show_no_report_need_none(tmp_path: Path, policy: dict[str, Any]) -> None:
    store = store_of(tmp_path / "store", rows(40))
    bare = store.records.drop(columns="report")
    store.__dict__["records"] = bare
    texts = texts_of({"text": policy, "fusion": {"name": "concat"}}, store)
    assert texts is not None and any(texts) == (policy["view"] == "context")
    assert set(reports_of(store, "report")["report"]) == {""}
    with pytest.raises(ValueError, match="has no column 'report' to read"):
        texts_of({"text": {"view": "masked"}}, store)


def test_the_context_is_audited_without_a_column_of_reports(store: Store) -> None:
    bare = copy(store)
    bare.__dict__["records"] = store.records.drop(columns="report")
    assert audit(bare, find_task(bare, TASK), view="context").verdict.word == "not shown to leak"


def test_a_mask_that_leaves_nothing_is_not_called_an_empty_column(store: Store) -> None:
    with pytest.raises(ValueError, match="leaves nothing of the reports .*lexicon knows all") as mistake:
        texts_of({"text": {"view": "masked"}}, store)
    assert "\n" not in str(mistake.value)


def test_what_cannot_be_audited_is_one_line(store: Store, tmp_path: Path) -> None:
    task = find_task(store, TASK)
    silent = store_of(tmp_path / "silent", rows(40, reports=False))
    wrong: list[tuple[str, Any]] = [
        ("has no column 'reports'.*report", lambda: audit(store, task, column="reports")),
        ("No labelled record of .* has a report .*40", lambda: audit(silent, find_task(silent, TASK))),
        ("needs a task with labels: say --task", lambda: audit(store, UNLABELLED)),
        ("shows no text", lambda: audit(store, task, view="none")),
        ("written as .json", lambda: audit_job(store, task, out=tmp_path / "a.csv")),
    ]
    for words, act in wrong:
        with pytest.raises(ValueError, match=words) as mistake:
            act()
        assert "\n" not in str(mistake.value)
    assert not list(tmp_path.glob("a.csv*"))


def test_auditing_needs_no_torch() -> None:
    code = "import sys, einthoven.audit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
