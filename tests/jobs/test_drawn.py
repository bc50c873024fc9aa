"""What a network draws: true to the patches it drew, chosen by a rule, and on the page over the ECG."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch import Tensor

from cohorts import heartbeat, store_of
from einthoven import parts
from einthoven.data.importing import import_
from einthoven.data.store import Store
from einthoven.layers.mask import anywhere, per_lead
from einthoven.layers.masked import normalised
from einthoven.layers.redraw import hidden_redrawn, redraw
from einthoven.plan import plan
from einthoven.python import Arrays
from einthoven.recipe import load as load_recipe
from einthoven.report import draw, report
from einthoven.run import train
from einthoven.types import LEADS, Batch, Method, PatchBackbone, Patches, Signal

RECIPES = Path(__file__).parents[2] / "recipes/pretrain"
DRAW = ("st_mem", "mtae", "mlae", "vqvae")
PATCH = {"mlae": 1.0}
SIZES = {"ecg_jepa": ["method.predictor=[8, 1, 2]"], "vqvae": ["method.codes=8"]}
SMALL = [
    "signal.seconds=1",
    "split.by=patient",
    "backbone.size=[16, 1, 2]",
    "train.steps=2",
    "train.batch=16",
    "evaluate.examples=3",
]
BACKBONES: dict[str, dict[str, Any]] = {
    "a time of a lead": {"patch": 0.3},
    "a time": {"patch": 0.3, "together": True},
    "a lead": {"patch": 3.0},
}
SVG = "{http://www.w3.org/2000/svg}"


# What is drawn, against the definition


def backbone(which: str, **options: Any) -> PatchBackbone:
    """Three seconds, and where that can be a rest of 100 ms, which no patch holds."""
    wants = Signal(seconds=3.1, scale=(0.01, 0.3), subset=True)
    if which == "a lead":
        wants = Signal(seconds=3.0, scale="crop", subset=True)
    table = {"name": "vit", "size": [16, 1, 2], **BACKBONES[which], **options}
    built: PatchBackbone = parts.build("backbones", table, wants=wants)
    return built


def batch(samples: int, records: int = 3) -> Batch:
    """Made-up ECGs, of which the last lacks V1 (not recorded) and V6 (zero throughout)."""
    rng = np.random.default_rng(0)
    ecg = torch.from_numpy(np.stack([heartbeat(rng)[:, :samples] for _ in range(records)]))
    leads = torch.arange(12).repeat(records, 1)
    leads[-1, 6], ecg[-1, 6], ecg[-1, 11] = -1, 0.0, 0.0
    rows = torch.arange(records)
    return Batch(ecg=ecg, row=rows, patient=rows, leads=leads)


@pytest.mark.parametrize("which", BACKBONES)
def test_a_perfect_guess_gives_the_ecg_back_where_it_was_hidden(which: str) -> None:
    network = backbone(which)
    one = batch(network.wants.samples)
    patches = network.patchify(one.ecg, one.leads)
    torch.manual_seed(1)
    where = anywhere(patches, 0.6)[1]
    guess = normalised(patches.take(where).values)
    drawn = redraw(hidden_redrawn(guess, where, patches), patches, network, one)
    long, hidden = network.patch[1], torch.zeros_like(one.ecg, dtype=torch.bool)
    for record, place in ((r, int(p)) for r in range(3) for p in where[r]):  # slowly, patch by patch
        time = int(patches.time[record, place])
        lead = slice(None) if network.patch[0] > 1 else int(patches.lead[record, place])
        hidden[record, lead, time * long : (time + 1) * long] = True
    hidden[-1, 6] = hidden[-1, 11] = False
    assert torch.equal(drawn.isfinite(), hidden) and hidden.any() and not hidden.all()
    torch.testing.assert_close(drawn[hidden], one.ecg[hidden], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "split"), [("mae", anywhere), ("st_mem", per_lead)])
def test_a_method_draws_what_training_hides_and_has_not_seen_it(
    name: str, split: Callable[[Patches, float], tuple[Tensor, Tensor]]
) -> None:
    """Turned round, a hidden patch keeps its mean and deviation: the drawing must not change."""
    network = backbone("a time of a lead", special="sep" if name == "st_mem" else "none")
    method: Method = parts.build("methods", {"name": name, "decoder": [8, 1, 2]}, backbone=network).eval()
    one = batch(network.wants.samples)

    def drawn(of: Batch) -> Tensor:
        torch.manual_seed(5)
        made = method.drawn(of)
        assert made is not None and not made.requires_grad
        return made

    first = drawn(one)
    torch.manual_seed(5)
    patches = network.patchify(one.ecg, one.leads)
    hidden = split(patches, 0.75)[1]
    marked = torch.full_like(patches.values, torch.nan).scatter(1, hidden[..., None].expand(-1, -1, 30), 0.0)
    where = redraw(marked, patches, network, one).isfinite()
    assert torch.equal(first.isfinite(), where)
    turned = one.ecg.clone()
    turned[..., :300] = one.ecg[..., :300].unflatten(2, (-1, 30)).flip(3).flatten(2)
    other = drawn(replace(one, ecg=torch.where(where, turned, one.ecg)))
    torch.testing.assert_close(other, first, equal_nan=True, atol=1e-4, rtol=1e-4)
    changed = drawn(replace(one, ecg=torch.where(where, one.ecg, turned)))
    assert (changed - first)[where].abs().max() > 1e-3  # it did read the rest


# The run and its page


def recipe(name: str, *sets: str) -> dict[str, Any]:
    decoder = SIZES.get(name, ["method.decoder=[8, 1, 2]"])
    return load_recipe(
        RECIPES / f"{name}.toml", [*SMALL, f"backbone.patch={PATCH.get(name, 0.1)}", *decoder, *sets]
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    rows = [{"number": i, "patient": i // 2} for i in range(80)]
    return store_of(tmp_path_factory.mktemp("drawn") / "store", rows)


@pytest.fixture(scope="module")
def runs(store: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {name: train(recipe(name), store.path, folder / name) for name in (*DRAW, "ecg_jepa")}


def told(run: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((run / "results.json").read_text(encoding="utf-8"))
    return results


@pytest.mark.parametrize("name", DRAW)
def test_a_run_keeps_validation_ecgs_and_what_it_draws_of_them(
    name: str, runs: dict[str, Path], store: Store
) -> None:
    run = runs[name]
    ecg, drawn = (np.load(run / f"{file}.npy", allow_pickle=False) for file in ("examples", "drawn"))
    assert ecg.dtype == drawn.dtype == np.float32 and ecg.shape == drawn.shape == (3, 12, 100)
    share = np.isfinite(drawn).mean(axis=(1, 2))
    hidden = {"vqvae": 1.0, "st_mem": 0.8, "mtae": 0.8, "mlae": 0.75}[name]  # 3/4 of 10 patches, rounded up
    np.testing.assert_allclose(share, hidden)
    held = plan(recipe(name), store).split.validation
    people = store.records.iloc[held].groupby("patient_id", sort=True)["record_id"].first()
    place = [0, (len(people) - 1) // 2, len(people) - 1]
    examples = told(run)["drawn"]
    assert [e["record_id"] for e in examples] == people.iloc[place].tolist()
    for number, example in enumerate(examples):
        row = int(np.flatnonzero(store.records["record_id"] == example["record_id"])[0])
        np.testing.assert_array_equal(ecg[number], store.read(np.array([row]))[0])
        errors = [d - e for d, e in zip(drawn[number].flat, ecg[number].flat, strict=True) if np.isfinite(d)]
        assert example["rmse"] == pytest.approx(np.sqrt(np.mean(np.square(errors, dtype=float))), rel=1e-4)
        piece = ecg[number] if name == "mlae" else ecg[number].reshape(12, 10, 10)
        level = (piece - piece.mean(-1, keepdims=True)).reshape(12, 100)[np.isfinite(drawn[number])]
        assert example["level"] == pytest.approx(np.sqrt(np.mean(level**2)), rel=1e-4)
        assert (example["hertz"], example["leads"], example["start"]) == (100.0, list(LEADS), 0.0)


@pytest.mark.parametrize("name", DRAW)
def test_the_page_shows_the_drawing_over_the_ecg_and_says_what_it_is(
    name: str, runs: dict[str, Path]
) -> None:
    page = report(runs[name]).read_text(encoding="utf-8")
    section = page.split('<section id="drawn"')[1].split("</section>")[0]
    words = {
        "vqvae": "drawn by the network from its codes, one for each piece",
    }.get(name, "drawn by the network where it was hidden; it saw the rest")
    assert words in section and ("Shape alone" in section) == (name != "vqvae")
    for said in ("black (white on a dark screen): recorded", "blue: ", "Validation ECGs", "patient data"):
        assert said in section
    assert section.count('<svg xmlns="http://www.w3.org/2000/svg"') == 3
    assert section.count('class="over"') == 3
    for example in told(runs[name])["drawn"]:
        assert f"RMSE {example['rmse']:.3f} mV" in section and f"by {example['level']:.3f} mV" in section
    charts = page.split('<section id="learning"')[1].split("</section>")[0]
    watched = ["Perplexity"] if name == "vqvae" else ["Spread of the features"]  # a rank needs 16 ECGs
    assert all(f"{title}" in charts for title in watched)


def test_a_run_that_draws_nothing_shows_nothing(runs: dict[str, Path], store: Store, tmp_path: Path) -> None:
    none = train(recipe("st_mem", "evaluate.examples=0"), store.path, tmp_path / "none")
    for run in (runs["ecg_jepa"], none):
        assert "drawn" not in told(run) and not (run / "drawn.npy").exists()
        page = report(run).read_text(encoding="utf-8")
        assert 'id="drawn"' not in page and 'href="#drawn"' not in page and 'class="over"' not in page


def test_a_lead_that_the_network_does_not_read_is_not_called_missing(store: Store, tmp_path: Path) -> None:
    run = train(recipe("st_mem", 'signal.leads=["II", "V2"]'), store.path, tmp_path / "run")
    page = report(run).read_text(encoding="utf-8")
    assert page.count("The network reads II, V2 only.") == 3
    assert page.count(">not read<") == 3 * 10 and "not recorded" not in page


def test_a_lead_that_was_not_recorded_is_said_to_be(tmp_path: Path) -> None:
    ecg = np.random.default_rng(0).normal(0, 0.2, (60, 12, 100)).astype(np.float32)
    ecg[:, 6] = np.nan
    leads = tuple(lead for lead in LEADS if lead != "V1")
    source = Arrays(np.delete(ecg, 6, 1), [{} for _ in ecg], hertz=100.0, leads=leads, patients=range(60))
    store = import_(source, tmp_path / "store", seconds=1.0)
    run = train(recipe("st_mem"), store.path, tmp_path / "run")
    kept = np.load(run / "examples.npy", allow_pickle=False)
    assert np.isnan(kept[:, 6]).all() and np.isfinite(np.delete(kept, 6, 1)).all()
    assert np.isnan(np.load(run / "drawn.npy", allow_pickle=False)[:, 6]).all()
    assert report(run).read_text(encoding="utf-8").count("not recorded") >= 3


def spoil(run: Path, content: bytes | np.ndarray | None) -> None:
    if content is None:
        (run / "drawn.npy").unlink()
    elif isinstance(content, bytes):
        (run / "drawn.npy").write_bytes(content)
    else:
        np.save(run / "drawn.npy", content)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", r"drawn\.npy cannot be read: restore it or train again"),
        (b"\x93NUMPY\x01\x00\x10\x00{'descr': ((((((", r"drawn\.npy cannot be read"),
        (np.zeros((3, 12, 99), np.float32), r"drawn\.npy does not fit examples\.npy"),
        (np.zeros((2, 12, 100), np.float32), r"drawn\.npy has 2 ECGs, results\.json lists 3"),
        (np.zeros(3, np.float32), r"drawn\.npy holds no ECGs"),
        (None, r"has no drawn\.npy, which every finished run has"),
    ],
)
def test_a_damaged_drawing_is_refused_in_one_line(
    content: bytes | np.ndarray | None, line: str, runs: dict[str, Path], tmp_path: Path
) -> None:
    run = shutil.copytree(runs["vqvae"], tmp_path / "run")
    spoil(run, content)
    with pytest.raises(ValueError, match=line) as refused:
        report(run)
    assert "\n" not in str(refused.value) and str(run) in str(refused.value)


# The second line on the paper


def test_the_second_line_lies_on_the_baseline_of_the_first() -> None:
    """Drawn over itself, an ECG leaves the same path; half of it leaves half of the path."""
    ecg = heartbeat(np.random.default_rng(1))
    half = ecg.copy()
    half[:, :500] = np.nan
    alone, same, part = (ElementTree.fromstring(draw.ecg_svg(ecg, 100.0, over=o)) for o in (None, ecg, half))

    def paths(svg: ElementTree.Element, kind: str) -> list[tuple[str, ...]]:
        found = svg.findall(f".//{SVG}path[@class='{kind}']")
        return [tuple(p.attrib[key] for key in ("data-lead", "data-zero", "d")) for p in found]

    assert paths(alone, "second") == [] and len(paths(same, "second")) == 13
    assert paths(same, "second") == paths(same, "trace") == paths(alone, "trace")
    late = [lead for row in draw.ROWS for lead in row[2:]]  # drawn from 5 s on
    assert [p for p in paths(part, "second") if p[0] in late] == [
        p for p in paths(alone, "trace") if p[0] in late
    ]
    assert {lead for lead, _, _ in paths(part, "second")} == {*late, "II"}
    assert draw.sheet(ecg, 100.0, over=9 * ecg).height > draw.sheet(ecg, 100.0).height  # rows move apart
    with pytest.raises(ValueError, match=re.escape("shape (12, 999) cannot be drawn over one of (12, 1000)")):
        draw.ecg_svg(ecg, 100.0, over=ecg[:, 1:])


def test_a_second_line_in_a_png(tmp_path: Path) -> None:
    ecg = heartbeat(np.random.default_rng(1))
    one, two = (
        draw.save(tmp_path / f"{n}.png", ecg, 100.0, over=o) for n, o in (("a", None), ("b", ecg / 2))
    )
    assert one.read_bytes() != two.read_bytes()
