"""One store of several: every record as it was, nobody taken for somebody else."""

import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from einthoven import ancestry, cli, python
from einthoven.ancestry import write_patients
from einthoven.data import files, importing, joining
from einthoven.data.convert import Form
from einthoven.data.importing import import_
from einthoven.data.joining import join
from einthoven.data.split import Rule, divide
from einthoven.data.store import COLUMNS, Store, open_store, verify
from einthoven.data.task import find_task
from einthoven.ecg import LEADS, Record, Source
from einthoven.embedding import table_of
from einthoven.plan import Plan, plan

SMALL = partial(Form, chunk_bytes=4 * 12 * 200 * 2, shard_bytes=9 * 12 * 200 * 2)  # 4 a chunk, 9 a shard
PLACES = ("record_id", "patient_id", "shard", "row", "fold")
KINDS = ("NORM", "MI", "CD")


class Ward(Source):
    """ECGs of noise, some with gaps, some that cannot be read."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], seed: int, ids: Callable[[int], str], high: float):
        self.rows, self.seed, self.ids, self.high = rows, seed, ids, high

    def __len__(self) -> int:
        return len(self.rows)

    def label(self, index: int) -> str:
        return f"file {index}"

    def read(self, index: int) -> Record:
        if index == 3:
            raise ValueError("it is torn")
        ecg = (
            np.random.default_rng((self.seed, index))
            .normal(0, self.high, (12, 150 + index))
            .astype(np.float32)
        )
        if index % 5 == 0:
            ecg[2, 10:30] = np.nan
        return Record(self.ids(index), f"p{index // 2}", ecg, LEADS, 100.0, self.rows[index])


def ward(path: Path, name: str, rows: Sequence[Mapping[str, Any]], **how: Any) -> Store:
    """Import a ward; `name` is its source's."""
    kind = type("Ward", (Ward,), {"__module__": f"wards.{name}", "title": how.pop("title", name.upper())})
    kind.synthetic = how.pop("synthetic", False)
    source = kind(rows, len(name), how.pop("ids", str), how.pop("high", 0.5))
    return import_(source, path, **({"seconds": 2.0} | how))


def north_rows(number: int = 25) -> list[dict[str, Any]]:
    return [
        {
            "fold": i // 2 % 10 + 1,
            "age": 40 + i,
            "kinds": [KINDS[i // 2 % 3]],
            "rhythm": ["SR"],
            "site": i,
            "bpm": 60,
        }
        for i in range(number)
    ]


def south_rows(number: int = 31) -> list[dict[str, Any]]:
    return [
        {"sex": "f", "rhythm": ["Sinus rhythm"], "disorder": [KINDS[i % 2]], "site": "x", "bpm": 61.5}
        for i in range(number)
    ]


@pytest.fixture(scope="module", autouse=True)
def small() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importing, "Form", SMALL)
        patch.setattr(joining, "Form", SMALL)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stores")


@pytest.fixture(scope="module")
def north(folder: Path) -> Store:
    """Of 24 ECGs, with folds."""
    return ward(folder / "north", "north", north_rows())


@pytest.fixture(scope="module")
def south(folder: Path) -> Store:
    """Of 30 ECGs, without folds; its ids are those of the north."""
    return ward(folder / "south", "south", south_rows())


@pytest.fixture(scope="module")
def both(north: Store, south: Store, folder: Path) -> Store:
    """North and south, joined."""
    return join([north.path, south.path], folder / "both")


def content(store: Path) -> dict[str, bytes]:
    return {str(p.relative_to(store)): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file()}


# ---- what a join holds


def test_every_record_reads_back_as_in_its_own_store(north: Store, south: Store, both: Store) -> None:
    want = [store.read(np.arange(len(store)), gaps=True) for store in (north, south)]
    got = both.read(np.arange(len(both)), gaps=True)
    np.testing.assert_array_equal(got, np.concatenate(want))
    assert np.isnan(got).any() and len(both) == 54 and [len(s) for s in both.shards] == [9] * 6
    some = np.array([53, 24, 23, 0])
    np.testing.assert_array_equal(both.crop(some, some % 7, 90), np.nan_to_num(cropped(got, some, some % 7)))
    assert verify(both) == []
    assert both.counts == {
        "records": 54,
        "patients": north.counts["patients"] + south.counts["patients"],
        **{k: n + south.counts[k] for k, n in north.counts.items() if k not in ("records", "patients")},
    }
    assert list(both.rejected["label"]) == ["file 3"] * 2 and list(both.rejected["source"]) == [
        "north",
        "south",
    ]


def cropped(ecg: np.ndarray, rows: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.stack([ecg[row][:, at : at + 90] for row, at in zip(rows, starts, strict=True)])


def test_every_line_is_as_in_its_own_store(north: Store, south: Store, both: Store) -> None:
    renamed = {"rhythm": "south/rhythm", "site": "south/site"}
    for store, part, names in ((north, slice(0, 24), {}), (south, slice(24, 54), renamed)):
        mine = both.records.iloc[part].reset_index(drop=True)
        for column in store.records.columns.difference(PLACES):
            one, other = store.records[column], mine[names.get(column, column)]
            assert all(told(a) == told(b) for a, b in zip(one, other, strict=True)), column
    assert list(both.records["record_id"][:24]) == list(north.records["record_id"])
    assert list(both.records["record_id"][24:]) == [f"south:{i}" for i in south.records["record_id"]]
    assert list(both.records["patient_id"][24:]) == [f"south:{i}" for i in south.records["patient_id"]]
    assert [divmod(i, 9) for i in range(54)] == list(
        both.records[["shard", "row"]].itertuples(index=False, name=None)
    )
    assert both.row_of("south:0") == 24 and both.row_of("0") == 0
    assert list(both.records.columns[: len(COLUMNS)]) == list(COLUMNS)


def told(value: Any) -> Any:
    """Compare lists as lists, and what is missing as missing; whole numbers and others are numbers."""
    if isinstance(value, np.ndarray | list):
        return list(value)
    return None if pd.isna(value) else float(value) if isinstance(value, int | float) else value


def test_what_sources_name_alike_stays_apart_unless_it_is_numbers(both: Store) -> None:
    assert both.tasks == {
        "kinds": ("CD", "MI", "NORM"),
        "rhythm": ("SR",),
        "south/rhythm": ("Sinus rhythm",),
        "disorder": ("MI", "NORM"),
    }
    assert both.records["south/site"].isna()[:24].all() and (both.records["south/site"][24:] == "x").all()
    assert both.records["site"].isna()[24:].all() and list(both.records["bpm"]) == [60] * 24 + [61.5] * 30
    for task, known in (("kinds", slice(0, 24)), ("south/rhythm", slice(24, 54)), ("rhythm", slice(0, 24))):
        truth = find_task(both, {"name": task}).truth(both.records)
        there = ~np.isnan(truth).all(axis=1)
        assert list(np.flatnonzero(there)) == list(range(54)[known])  # unknown to the others, not untrue


def test_stores_of_one_source_share_its_names_and_its_patients(north: Store, folder: Path) -> None:
    rows = [{"rhythm": ["AF"], "site": "x", "fold": 2}] * 8
    more = ward(folder / "more", "north", rows, ids=lambda i: f"more{i}", title="MORE")
    with (
        pytest.warns(UserWarning, match="4 patients stand in several of the stores"),
        pytest.warns(
            UserWarning, match="'site' holds numbers in .*north and words in .*more: in the join all"
        ),
    ):
        store = join([north.path, more.path], folder / "one-source")
    assert store.tasks["rhythm"] == ("AF", "SR") and store.source == "north"
    assert list(store.records["record_id"][24:27]) == ["more0", "more1", "more2"]
    assert store.counts["patients"] == north.counts["patients"]
    assert list(store.records["site"][23:]) == ["24", *["x"] * 7]
    with pytest.raises(ValueError, match=r"Patient 'p0' stands in train and test"):
        divide(
            store.records.assign(fold=[10] * 24 + [1] * 7),
            np.arange(31),
            np.zeros((31, 0)),
            Rule(by="fold"),
        )


def test_words_of_one_store_are_classes_beside_the_lists_of_another(folder: Path) -> None:
    sick = ward(folder / "sick", "clinic", [{"diag": ["CD", "MI"]}, {"diag": ["MI"]}] * 2)
    well = ward(folder / "well", "clinic", [{"diag": "NORM"}] * 2, ids=lambda i: f"well{i}")
    with pytest.warns(UserWarning, match="1 patients"):
        store = join([sick.path, well.path], folder / "clinic")
    assert store.tasks == {"diag": ("CD", "MI", "NORM")}
    truth = find_task(store, {"name": "diag"}).truth(store.records)
    np.testing.assert_array_equal(truth, [[1, 1, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1]])


def test_a_column_without_values_owns_no_name(folder: Path) -> None:
    none = ward(folder / "none", "none", [{"oxygen": None, "marks": [], "never": None, "words": "x"}] * 2)
    some = ward(folder / "some", "some", [{"oxygen": 95.5, "marks": ["a"], "words": None}] * 2)
    store = join([none.path, some.path], folder / "values")
    assert not {"some/oxygen", "some/marks", "some/words", "never"} & set(store.records.columns)
    assert store.records["oxygen"].isna()[:2].all() and list(store.records["oxygen"][2:]) == [95.5] * 2
    assert store.tasks == {"marks": ("a",)} and list(map(len, store.records["marks"])) == [0, 0, 1, 1]


def test_a_task_may_be_named_with_the_source_whose_it_is(both: Store) -> None:
    for said, labels in (
        ("north/kinds", KINDS),
        ("north+south/kinds", KINDS),
        ("north/rhythm", ("SR",)),
        ("south/rhythm", ("Sinus rhythm",)),
        ("south/disorder", ("MI", "NORM")),
    ):
        assert set(find_task(both, {"name": said}).labels) == set(labels)
    with pytest.raises(ValueError, match="No task 'south/kinds'"):
        find_task(both, {"name": "south/kinds"})
    assert table_of("south/bpm > 61", both) == {"column": "bpm", "above": 61.0}


def test_a_join_says_what_it_is(north: Store, south: Store, both: Store, folder: Path) -> None:
    assert (both.title, both.source, both.synthetic) == ("NORTH + SOUTH", "north+south", False)
    assert [part["records"] for part in both.facts["parts"]] == [24, 30]
    assert [part["fingerprint"] for part in both.facts["parts"]] == [north.fingerprint, south.fingerprint]
    toy = ward(folder / "toy", "toy", south_rows(6), synthetic=True)
    mixed = join([north.path, toy.path], folder / "mixed")
    assert mixed.synthetic and mixed.title == "NORTH + TOY (made-up ECGs)"
    turned = join([south.path, north.path], folder / "turned")
    assert turned.fingerprint != both.fingerprint
    assert list(turned.records["record_id"][30:]) == [f"north:{i}" for i in north.records["record_id"]]


def test_the_command_joins_and_shows(
    north: Store, south: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], both: Store
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        out = str(tmp_path / "both")
        patch.setattr("sys.argv", ["einthoven", "join", str(north.path), str(south.path), "--out", out])
        cli.main()
        said = capsys.readouterr().out
        assert "54 ECGs of 29 patients" in said and "folds none, so for training only: 30, 1: " in said
        assert content(tmp_path / "both") == content(both.path)
    before = (tmp_path / "both/store.json").stat().st_mtime_ns
    python.join([str(north.path), str(south.path)], tmp_path / "both")  # only opened
    assert (tmp_path / "both/store.json").stat().st_mtime_ns == before


# ---- steps


def test_a_finer_step_holds_a_coarser_one_exactly(north: Store, folder: Path) -> None:
    coarse = ward(folder / "coarse", "coarse", south_rows(), microvolts=5.0)
    store = join([coarse.path, north.path], folder / "steps")
    assert store.microvolts == 1.0
    got = store.read(np.arange(54), gaps=True)
    np.testing.assert_allclose(got[:30], coarse.read(np.arange(30), gaps=True), rtol=3e-7)
    np.testing.assert_array_equal(got[30:], north.read(np.arange(24), gaps=True))


def test_steps_that_do_not_fit_are_refused(north: Store, folder: Path) -> None:
    odd = ward(folder / "odd", "odd", south_rows(6), microvolts=2.5)
    with pytest.raises(
        ValueError, match=r"whole multiples of the finest one, but .*north: 1, .*odd: 2\.5 micro"
    ):
        join([north.path, odd.path], folder / "unfit")
    large = ward(folder / "large", "large", south_rows(6), microvolts=10.0, high=20.0)
    with pytest.raises(ValueError, match=r"Record '\d' of .*large reaches beyond 32\.767 mV"):
        join([north.path, large.path], folder / "unfit")
    assert not (folder / "unfit").exists()


# ---- what cannot be joined


def test_what_cannot_be_joined_is_one_line(north: Store, south: Store, both: Store, folder: Path) -> None:
    fast = ward(folder / "fast", "fast", south_rows(6), hertz=200.0)
    again = ward(folder / "again", "north", north_rows(6))
    lent = ward(folder / "lent", "lent", south_rows(6), ids=lambda i: f"north:{i}")
    unfinished = folder / "unfinished"
    (unfinished / ".partial").mkdir(parents=True)
    for stores, line in (
        ([], "of two stores or more, got none"),
        ([north], "of two stores or more, got .*north"),
        ([north, south, north], "north is named twice"),
        ([north, both], r"both is a join itself: name the stores .*\(NORTH, SOUTH\)"),
        ([north, fast], r"north: 12 leads, 100 Hz, 2 s; .*fast: 12 leads, 200 Hz, 2 s.*--hertz 100"),
        ([north, again], "Record '0' of .*again stands in another of the stores, too.*source 'north'"),
        ([lent, north], "lent has the record_id 'north:0', which in the join would be one of source 'north'"),
    ):
        with pytest.raises(ValueError, match=line) as refused:
            join([store.path for store in stores], folder / "refused")
        assert "\n" not in str(refused.value)
        assert not (folder / "refused").exists()
    with pytest.raises(ValueError, match=r"unfinished: .*\(or `einthoven join`\)"):
        join([north.path, unfinished], folder / "refused")
    with pytest.raises(ValueError, match="south is one of the stores to join"):
        join([north.path, south.path], south.path)
    with pytest.raises(ValueError, match=r"both holds something else \(NORTH \+ SOUTH.*name another folder"):
        join([south.path, north.path], both.path)
    (folder / "thesis").mkdir()
    (folder / "thesis/thesis.tex").touch()
    with pytest.raises(ValueError, match="not empty and holds no store"):
        join([north.path, south.path], folder / "thesis")


def test_a_damaged_store_is_not_joined(north: Store, tmp_path: Path) -> None:
    harmed = ward(tmp_path / "harmed", "harmed", south_rows(6))
    shard = harmed.path / "signals-00000.npy"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ValueError, match=r"signals-00000\.npy is damaged"):
        join([north.path, harmed.path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- killed


class Killed(BaseException):
    """Stands for SIGKILL at one place: nothing catches it, nothing is tidied."""


@pytest.mark.parametrize("moment", [0, 1, 3, 7, 18, 30, 44, 55, 57, 60, 62, 64, 66, 70, 74, 78])
def test_a_kill_at_any_write_ends_in_the_same_bytes(
    north: Store, south: Store, both: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    calls = itertools.count()

    def dying(act: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == moment:
                raise Killed
            return act(*args, **kwargs)

        return call

    stores, out = [north.path, south.path], tmp_path / "out"
    with monkeypatch.context() as broken:
        for owner, name in ((os, "replace"), (files, "flush"), (os, "fsync"), (os, "unlink")):
            broken.setattr(owner, name, dying(getattr(owner, name)))
        try:
            join(stores, out)
            killed = False
        except Killed:
            killed = True
    assert killed == (next(calls) > moment)
    if killed and not (out / "store.json").exists():
        with pytest.raises(ValueError, match="unfinished"):
            open_store(out)
    assert content(join(stores, out).path) == content(both.path)


def test_ctrl_c_says_how_to_go_on_and_nothing_is_copied_twice(
    north: Store, south: Store, both: Store, tmp_path: Path
) -> None:
    def stop(done: int, total: int) -> None:
        if done >= 28:
            raise KeyboardInterrupt

    stores, seen = [north.path, south.path], list[int]()
    with pytest.raises(KeyboardInterrupt, match=r"Stopped after 28 of 54 records\. The same command goes on"):
        join(stores, tmp_path / "out", progress=stop)
    with pytest.raises(ValueError, match="unfinished import of other files or settings"):
        join(stores[::-1], tmp_path / "out")
    join(stores, tmp_path / "out", progress=lambda done, total: seen.append(done))
    assert seen[0] == 28 and content(tmp_path / "out") == content(both.path)


# ---- who is tested on


def test_a_store_without_folds_is_trained_on_beside_one_with_folds(north: Store, both: Store) -> None:
    assert list(both.records["fold"][:24]) == list(north.records["fold"])
    assert (both.records["fold"][24:] == 0).all()
    every = np.arange(54)
    for rule in (Rule(), Rule(by="fold"), Rule(train=(1,))):
        split = divide(both.records, every, np.zeros((54, 0)), rule)
        alone = divide(north.records, every[:24], np.zeros((24, 0)), rule)
        assert set(split.train) == {*alone.train, *range(24, 54)}
        assert list(split.validation) == list(alone.validation) and list(split.test) == list(alone.test)
        assert split.by == "folds of the store (30 ECGs without one are trained on)"
        assert alone.by == "folds of the store"


def test_a_task_of_the_store_without_folds_is_divided_by_patient(both: Store) -> None:
    planned = plan({"task": {"name": "disorder"}, "signal": {"seconds": 1}}, both)
    rows = np.concatenate(list(planned.split.named().values()))
    assert planned.split.by == "patients, seed 0" and set(rows) == set(range(24, 54))
    with pytest.raises(ValueError, match="by = 'fold', but some records have no fold"):
        plan({"task": {"name": "disorder"}, "signal": {"seconds": 1}, "split": {"by": "fold"}}, both)


def test_a_missing_fold_does_not_let_fold_0_be_tested_on(both: Store) -> None:
    records = both.records.assign(fold=both.records["fold"].where(both.records["record_id"] != "7"))
    every, none = np.arange(54), np.zeros((54, 0))
    with pytest.raises(
        ValueError, match=r"1 of 54 records have no fold, while 30 have fold 0.*by = 'patient'"
    ):
        divide(records, every, none, Rule())
    assert divide(records, every, none, Rule(by="patient")).by == "patients, seed 0"
    assert divide(records, every[:24], none[:24], Rule()).by == "patients, seed 0"  # nobody has fold 0


def test_stores_without_folds_have_none_when_joined(south: Store, folder: Path) -> None:
    west = ward(folder / "west", "west", south_rows(8))
    store = join([south.path, west.path], folder / "foldless")
    assert store.records["fold"].isna().all()
    assert divide(store.records, np.arange(37), np.zeros((37, 0)), Rule()).by == "patients, seed 0"


# ---- who was learned from


def planned_on(store: Store, *after: Path, **split: Any) -> Plan:
    return plan({"signal": {"seconds": 1}, "split": split}, store, after)


def ran(folder: Path, planned: Plan) -> Path:
    """Write of a run what its successors read."""
    folder.mkdir()
    store = planned.store
    (folder / "recipe.toml").touch()
    (folder / "environment.json").write_text(json.dumps({"store": {"source": store.source}}))
    write_patients(folder, store, planned.split, planned.held)
    return folder


def sides(planned: Plan) -> dict[str, set[str]]:
    """Return whom a plan has on which side, by the ids of its store."""
    patient = planned.store.records["patient_id"]
    return {name: set(patient.iloc[rows]) for name, rows in planned.split.named().items()}


def test_who_was_learned_from_in_a_join_is_known_in_its_parts(
    north: Store, south: Store, both: Store, tmp_path: Path
) -> None:
    first = planned_on(both)
    run = ran(tmp_path / "run", first)
    here = set(north.records["patient_id"])
    for how in ({"by": "fold"}, {"by": "patient", "seed": 3}):
        again = planned_on(north, run, **how)
        assert sides(again) == {name: ids & here for name, ids in sides(first).items()}
    assert sides(planned_on(north, by="patient", seed=3)) != sides(again)  # without the run
    with pytest.raises(ValueError, match="were learned from or chosen on by the run"):
        planned_on(north, run, by="fold", test=[1], train=[2, 3])
    with pytest.raises(ValueError, match=r"validation split has no record: .* has learned from 15 of them"):
        planned_on(south, run)  # all of the south was trained on


def test_who_was_learned_from_in_a_part_is_known_in_the_join(
    north: Store, south: Store, both: Store, folder: Path, tmp_path: Path
) -> None:
    first = planned_on(south, seed=5)
    run = ran(tmp_path / "run", first)
    theirs = {name: {f"south:{who}" for who in ids} for name, ids in sides(first).items()}
    again = planned_on(both, run, by="patient")
    assert all(theirs[name] <= ids for name, ids in sides(again).items())
    free = set(north.records["patient_id"])  # the same ids, other people: nobody holds them
    assert {name: ids & free for name, ids in sides(again).items()} != sides(first)
    turned = join([south.path, north.path], tmp_path / "turned")
    assert all(
        sides(first)[name] <= ids for name, ids in sides(planned_on(turned, run, by="patient")).items()
    )
    planned_on(both, run)  # by folds all of the south is trained on: tested on before, which is harmless


def test_it_is_remembered_through_a_run_on_another_store(
    north: Store, south: Store, both: Store, tmp_path: Path
) -> None:
    one = ran(tmp_path / "one", planned_on(both, by="patient"))
    two = ran(tmp_path / "two", planned_on(north, one, by="patient"))
    assert sides(planned_on(south, two)) == sides(planned_on(south, one)) != sides(planned_on(south))
    told = pd.read_parquet(two / ancestry.FILE)
    assert set(told["source"]) == {"north", "south"} and "p0" in set(told["patient_id"])
    assert not told.duplicated(["source", "patient_id"]).any()


def test_a_run_from_before_there_were_joins_is_still_read(north: Store, both: Store, tmp_path: Path) -> None:
    first = planned_on(north, by="patient", seed=2)
    run = ran(tmp_path / "run", first)
    pd.read_parquet(run / ancestry.FILE).drop(columns="source").to_parquet(run / ancestry.FILE)
    assert sides(planned_on(north, run, by="patient")) == sides(first)
    assert all(sides(first)[name] <= ids for name, ids in sides(planned_on(both, run, by="patient")).items())


def test_a_run_that_does_not_say_whom_it_learned_from(
    north: Store, south: Store, both: Store, tmp_path: Path
) -> None:
    run = ran(tmp_path / "run", planned_on(both))
    (run / ancestry.FILE).unlink()
    for store in (north, south, both):
        with pytest.raises(ValueError, match=r"has no patients\.parquet"):
            planned_on(store, run)
    (run / "environment.json").write_text(json.dumps({"store": {"source": "published ST-MEM"}}))
    planned_on(north, run)  # nobody of this store, as far as it can tell
