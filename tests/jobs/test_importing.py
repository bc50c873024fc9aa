"""The import: any source becomes one store, whole, whatever happens on the way."""

import errno
import hashlib
import itertools
import os
import signal
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import einthoven.python
from einthoven.data import files, importing
from einthoven.data.convert import Form
from einthoven.data.importing import import_
from einthoven.data.opening import read_files
from einthoven.data.partial import Seen
from einthoven.data.sources.synthetic import Synthetic
from einthoven.data.store import COLUMNS, Store, open_store
from einthoven.ecg import LEADS, Record, Source

SMALL = partial(Form, chunk_bytes=3 * 12 * 200 * 2, shard_bytes=8 * 12 * 200 * 2)  # 3 a chunk, 8 a shard
SECONDS = 2.0


class Made(Source):
    """Made-up ECGs, some of which cannot be read; workers load it from this file."""

    synthetic = True
    title = "made up"

    def __init__(
        self, number: int = 25, *, delay: float = 0.0, rows: dict[int, dict[str, Any]] | None = None
    ):
        self.number, self.delay, self.rows = number, delay, rows or {}

    def __len__(self) -> int:
        return self.number

    def label(self, index: int) -> str:
        return f"file {index}"

    def read(self, index: int) -> Record:
        time.sleep(self.delay)
        print("sources may print")
        if index % 10 == 4:
            raise ValueError(f"file {index} is torn")
        ecg = noise(index)
        row = {
            "age": 40 + index,
            "sex": "F" if index % 2 else "male",
            "fold": 1 + index % 10,
            "report": "sinus",
        }
        return Record(f"r{index}", f"p{index // 2}", ecg, LEADS, 100.0, row | self.rows.get(index, {}))


class Broken(Made):
    """A source with a defect of its own."""

    def read(self, index: int) -> Record:
        raise KeyError(index)


class Given(Source):
    """The records that a test hands over; ValueErrors stand for what cannot be read."""

    def __init__(self, records: list[Record | ValueError]):
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def label(self, index: int) -> str:
        return f"file {index}"

    def read(self, index: int) -> Record:
        record = self.records[index]
        if isinstance(record, ValueError):
            raise record
        return record


def noise(seed: int, leads: int = 12, samples: int = 200) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.5, (leads, samples)).astype(np.float32)


def record(number: int = 0, ecg: np.ndarray | None = None, hertz: float = 100.0, **row: Any) -> Record:
    return Record(f"r{number}", f"p{number}", noise(number) if ecg is None else ecg, LEADS, hertz, row)


def made(path: Path, *records: Record | ValueError, **options: Any) -> Store:
    return import_(Given(list(records)), path / "store", **({"seconds": SECONDS} | options))


def content(store: Path) -> dict[str, str]:
    return {
        str(p.relative_to(store)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(store.rglob("*"))
        if p.is_file()
    }


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "Form", SMALL)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An import that nothing disturbed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importing, "Form", SMALL)
        return import_(Made(), tmp_path_factory.mktemp("undisturbed") / "store", seconds=SECONDS).path


@pytest.fixture
def whole(undisturbed: Path, small: None) -> dict[str, str]:
    """Its files."""
    return content(undisturbed)


# ---- what a store holds


def test_signals_come_back_within_half_a_count(tmp_path: Path, small: None) -> None:
    store = import_(Made(), tmp_path / "store", seconds=SECONDS)
    kept = [i for i in range(25) if i % 10 != 4]
    want = np.stack([noise(i) for i in kept])
    assert np.abs(store.read(np.arange(len(kept))) - want).max() <= 0.00051 * store.microvolts
    assert list(store.records.record_id) == [f"r{i}" for i in kept]
    assert (
        store.counts["records"] == 22
        and store.counts["patients"] == len({i // 2 for i in kept})
        and store.counts["rejected"] == 3
    )
    assert (store.leads, store.hertz, store.seconds, store.samples) == (LEADS, 100.0, 2.0, 200)
    assert (store.source, store.title, store.synthetic) == ("test_importing", "made up", True)
    assert list(store.records.shard) == [i // 8 for i in range(22)] and store.records.row[9] == 1


def test_the_lines_of_the_table_follow_the_contract(tmp_path: Path) -> None:
    records = made(
        tmp_path, record(0, age=300.0, sex="Weiblich", fold=np.int64(3)), record(1, age=-1), record(2)
    ).records
    assert list(records.columns[:10]) == list(COLUMNS)[:10]
    assert records.sex[0] == "female" and records.sex[1:].isna().all()
    assert records.age.isna().all() and records.age.dtype == np.float64
    assert str(records.fold.dtype) == "Int64" and records.fold[0] == 3 and records.fold[1:].isna().all()
    assert list(records.report) == ["", "", ""] and list(records.source) == ["test_importing"] * 3
    assert list(records.stop) == [200] * 3 and list(records.start) == [0] * 3
    assert records.high.dtype == bool and records.law.dtype == bool


def test_lists_become_tasks_and_other_columns_keep_their_kind(tmp_path: Path) -> None:
    store = made(
        tmp_path,
        record(0, codes=["b", "a"], pcwp=12, site="x", paced=True, mixed=1),
        record(1, codes=[], pcwp=np.float32(13.5), paced=np.bool_(False), mixed="y"),
        record(2, codes=("c",), pcwp=float("nan"), site=None, beats=7, when=pd.NaT),
    )
    records = store.records
    assert store.tasks == {"codes": ("a", "b", "c")}
    assert [list(labels) for labels in records.codes] == [["b", "a"], [], ["c"]]
    np.testing.assert_array_equal(records.pcwp, [12, 13.5, np.nan])
    assert records.site[0] == "x" and records.site[1:].isna().all() and records.when.isna().all()
    assert records.paced[0] and not records.paced[1] and records.paced.isna()[2]
    assert records.beats[2] == 7 and str(records.beats.dtype) == "Int64"
    assert list(records.mixed[:2]) == ["1", "y"]


def test_long_records_are_cut_short_ones_padded_and_other_rates_resampled(tmp_path: Path) -> None:
    wave = np.tile(np.sin(2 * np.pi * 5 * np.arange(2500) / 500, dtype=np.float32), (12, 1))
    store = made(tmp_path, record(0, wave, 500.0), record(1, wave[:, :600], 500.0))
    want = np.sin(2 * np.pi * 5 * np.arange(200) / 100)
    got = store.read(np.arange(2))
    np.testing.assert_allclose(got[0, :, 10:], np.tile(want[10:], (12, 1)), atol=0.01)
    assert list(store.records.stop) == [200, 120]
    assert not got[1, :, 120:].any() and got[1, :, 118].any()


def test_absent_leads_are_zero_and_named_and_derived_ones_too(tmp_path: Path) -> None:
    ecg = noise(0, 3)
    store = made(tmp_path, Record("a", "p", ecg, ("Lead II", "i", "v3"), 100.0))
    row, got = store.records.iloc[0], store.read(np.array([0]))[0]
    assert row.absent == "V1 V2 V4 V5 V6" and row.derived == "III aVR aVL aVF"
    np.testing.assert_allclose(got[[0, 1, 8]], ecg[[1, 0, 2]], atol=0.00051)
    np.testing.assert_allclose(got[3], -(ecg[0] + ecg[1]) / 2, atol=0.00051)
    assert not got[[6, 7, 9, 10, 11]].any()


def test_faults_are_counted_and_the_ecg_is_kept(tmp_path: Path) -> None:
    ecg = noise(0)
    ecg[6, :24], ecg[7], ecg[8, 5], ecg[9, 6] = np.nan, 0.2, 40.0, -33.0
    store = made(tmp_path, record(0, ecg))
    row, got = store.records.iloc[0], store.read(np.array([0]))[0]
    assert (row.nan_share, row.flat, row.clipped, row.high, row.law) == (0.01, "V2", 2, True, True)
    seen = store.read(np.array([0]), gaps=True)[0]
    np.testing.assert_array_equal(np.argwhere(np.isnan(seen)), [[6, at] for at in range(24)])
    np.testing.assert_array_equal(np.nan_to_num(seen), got)
    assert (
        not got[6, :24].any() and got[8, 5] == pytest.approx(32.767) and got[9, 6] == pytest.approx(-32.767)
    )
    assert {
        k: store.counts[k] for k in ("nan_share", "flat", "clipped", "high", "law", "absent")
    } == dict.fromkeys(("nan_share", "flat", "clipped", "high", "law"), 1) | {"absent": 0}


def test_a_coarser_step_reaches_further(tmp_path: Path) -> None:
    store = made(tmp_path, record(0, noise(0) * 100), microvolts=10.0)
    assert store.records.clipped[0] == 0
    np.testing.assert_allclose(store.read(np.array([0]))[0], noise(0) * 100, atol=0.0051)


def test_what_cannot_be_read_is_listed_with_its_reason(tmp_path: Path, small: None) -> None:
    store = made(
        tmp_path,
        record(0),
        ValueError("torn"),
        record(2, np.full((12, 200), np.nan, np.float32)),
        record(3, np.zeros((12, 0), np.float32)),
        record(0, noise(5)),
        record(5, flat="mine"),
        record(6, fold=0),
        record(7, hertz=0.0),
        Record("", "p", noise(8), LEADS, 100.0),
        Record("x", "p", noise(9), tuple(f"ch{i}" for i in range(12)), 100.0),
        record(10),
    )
    assert list(store.records.record_id) == ["r0", "r10"]
    np.testing.assert_allclose(store.read(np.array([1]))[0], noise(10), atol=0.00051)
    rejected = store.rejected
    assert list(rejected["index"]) == list(range(1, 10))
    assert list(rejected.label) == [f"file {i}" for i in range(1, 10)]
    for reason, word in zip(
        rejected.reason,
        (
            "torn",
            "no sample that is a number",
            "no sample",
            "'r0' is taken",
            "'flat' is one that the store itself",
            "fold is a whole number",
            "rate is 0 Hz",
            "no record_id",
            "none of its leads is known",
        ),
        strict=True,
    ):
        assert word in reason


def test_text_that_utf8_cannot_hold_is_mended(tmp_path: Path) -> None:
    store = made(tmp_path, record(0, report="Lage\udcfctyp\x00 \u2028 \n \U0001f49a"))
    assert store.records.report[0] == "Lage?typ\x00 \u2028 \n \U0001f49a"


# ---- labels


def labels(path: Path, text: str) -> Path:
    (path / "labels.csv").write_text(text)
    return path / "labels.csv"


def test_labels_are_joined_by_id_and_win_where_they_say_something(tmp_path: Path) -> None:
    table = labels(
        tmp_path,
        "id,patient_id,age,sex,fold,diagnosis,pcwp,report\nr1,007,61,m,2,MI;CD ,14,a;b\nr0,,,,,NORM,,\n",
    )
    store = made(tmp_path, record(0, age=50.0, fold=1), record(1, age=50.0), record(2), labels=table)
    records = store.records
    assert store.tasks == {"diagnosis": ("CD", "MI", "NORM")}
    assert [sorted(d) for d in records.diagnosis] == [["NORM"], ["CD", "MI"], []]
    assert list(records.patient_id) == ["p0", "007", "p2"] and list(records.report) == ["", "a;b", ""]
    assert list(records.age[:2]) == [50, 61] and list(records.fold[:2]) == [1, 2] and records.sex[1] == "male"
    assert records.pcwp[1] == 14 and records.pcwp.isna()[0]


def test_labels_of_unknown_records_are_said(tmp_path: Path) -> None:
    table = labels(tmp_path, "record_id,x\nr0,1\nr77,2\n")
    with pytest.warns(UserWarning, match=r"labels\.csv: 1 of 2 lines name no record"):
        made(tmp_path, record(0), labels=table)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "record_id,x\n1,1\n",
            r"no record_id \(such as '1'\) is a record id of this source \(such as 'r0'\)",
        ),
        ("record_id,x\nr0,1\nr0,2\n", "'r0' stands in two lines"),
        ("record_id,age\nr0,old\n", "record_id 'r0': age is a number of years, got 'old'"),
        ("record_id,flat\nr0,1\n", "column 'flat' is one that the store itself writes"),
        ("record_id,sex\nr0,1\n", "sex is told in words"),
        ("record_id,fold\nr0,0\n", "fold is a whole number from 1 up"),
        ("", "not a table of comma-separated text"),
        ("record_id,x\n", "holds no line"),
    ],
)
def test_labels_that_do_not_fit_are_one_line(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(ValueError, match=line) as refused:
        made(tmp_path, record(0), labels=labels(tmp_path, text))
    assert "labels.csv" in str(refused.value) and "\n" not in str(refused.value)


def test_better_labels_use_the_finished_reading(tmp_path: Path) -> None:
    records = [record(0), record(1)]
    with pytest.raises(ValueError, match="no record_id"):
        made(tmp_path, *records, labels=labels(tmp_path, "record_id,x\nq,1\n"))
    seen: list[int] = []
    better = labels(tmp_path, "record_id,x\nr0,1\n")
    made(tmp_path, *records, labels=better, progress=lambda done, total: seen.append(done))
    assert seen == [2]


# ---- again, elsewhere, with more hands


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_make_the_same_bytes(tmp_path: Path, whole: dict[str, str], workers: int) -> None:
    store = import_(Made(), tmp_path / "store", seconds=SECONDS, workers=workers)
    assert content(store.path) == whole
    assert set(whole) == {
        *(f"signals-0000{i}.npy" for i in range(3)),
        *("records.parquet", "rejected.parquet", "store.json"),
    }


def test_a_finished_import_is_only_opened(tmp_path: Path) -> None:
    store = made(tmp_path, record(0))
    before = (store.path / "store.json").stat().st_mtime_ns
    calls: list[int] = []
    again = made(tmp_path, record(0), progress=lambda done, total: calls.append(done))
    assert again.fingerprint == store.fingerprint and not calls
    assert (store.path / "store.json").stat().st_mtime_ns == before


def test_another_import_does_not_touch_a_finished_one(tmp_path: Path) -> None:
    made(tmp_path, record(0))
    before = content(tmp_path / "store")
    with pytest.raises(
        ValueError, match=r"another source or other options .*name another folder or delete it"
    ):
        made(tmp_path, record(0), hertz=50.0)
    with pytest.raises(ValueError, match="another source or other options"):
        made(tmp_path, record(0), record(1))
    with pytest.raises(ValueError, match="other labels"):
        made(tmp_path, record(0), labels=labels(tmp_path, "record_id,x\nr0,1\n"))
    assert content(tmp_path / "store") == before


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "thesis.tex").touch()
    with pytest.raises(ValueError, match="not empty and holds no store"):
        made(tmp_path, record(0))
    assert [p.name for p in (tmp_path / "store").iterdir()] == ["thesis.tex"]


def test_nothing_to_keep_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none of 2 records could be imported; the first, file 0: torn"):
        made(tmp_path, ValueError("torn."), ValueError("worn"))
    with pytest.raises(ValueError, match="holds no record"):
        made(tmp_path)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    "options", [{"hertz": 0.0}, {"seconds": -1.0}, {"microvolts": 0.0}, {"seconds": 0.001}]
)
def test_impossible_forms_are_refused(tmp_path: Path, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"above 0|hold no sample"):
        made(tmp_path, record(0), **options)


# ---- killed, stopped, cut off

RUN = """
import sys
from functools import partial
from pathlib import Path
import test_importing as t
from einthoven.data import importing
importing.Form = t.SMALL
if __name__ == "__main__":
    importing.import_(
        t.Made(delay=float(sys.argv[2])), Path(sys.argv[1]), seconds=t.SECONDS, workers=int(sys.argv[3]),
        progress=lambda done, total: print(done, flush=True),
    )
"""


def start(store: Path, workers: int, delay: float) -> subprocess.Popen[str]:
    folders = filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH")))
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(store), str(delay), str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(folders)},
        start_new_session=True,
    )


def wait_for(program: subprocess.Popen[str], done: int) -> None:
    """Read the program's progress until so many records are done."""
    assert program.stdout
    for line in program.stdout:
        if line.strip().isdigit() and int(line) >= done:
            return
    raise AssertionError(program.stderr and program.stderr.read())


def test_an_import_killed_again_and_again_ends_in_the_same_bytes(
    tmp_path: Path, whole: dict[str, str], undisturbed: Path
) -> None:
    store, delay = tmp_path / "store", 0.02
    for done, workers in ((3, 0), (9, 2), (21, 0)):
        program = start(store, workers, delay)
        wait_for(program, done)
        time.sleep(0.013)  # somewhere inside the next chunk
        program.kill()
        program.communicate()
        with pytest.raises(ValueError, match="unfinished"):
            open_store(store)
    assert not any(p.name != ".partial" for p in store.iterdir())
    seen: list[int] = []
    made_whole = import_(
        Made(delay=delay), store, seconds=SECONDS, progress=lambda done, total: seen.append(done)
    )
    assert seen[0] >= 21
    again = content(store)
    facts = [c.pop("store.json") for c in (again, whole)]
    assert again == whole and facts[0] != facts[1]  # another delay: another source, the same content
    assert made_whole.fingerprint == open_store(undisturbed).fingerprint


class Killed(BaseException):
    """Stands for SIGKILL at one place: nothing catches it, nothing is tidied."""


@pytest.mark.parametrize("moment", range(0, 80, 4))
def test_a_kill_at_any_write_ends_in_the_same_bytes(
    tmp_path: Path, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    calls = itertools.count()

    def dying(act: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == moment:
                raise Killed
            return act(*args, **kwargs)

        return call

    with monkeypatch.context() as broken:
        for owner, name in ((os, "replace"), (files, "flush"), (os, "fsync"), (os, "unlink")):
            broken.setattr(owner, name, dying(getattr(owner, name)))
        try:
            import_(Made(), tmp_path / "store", seconds=SECONDS)
            killed = False
        except Killed:
            killed = True
    assert killed == (next(calls) > moment)
    assert content(import_(Made(), tmp_path / "store", seconds=SECONDS).path) == whole


@pytest.mark.parametrize(
    "harm", ["torn lines", "no lines", "torn samples", "no samples", "lost samples", "zeros"]
)
def test_what_a_power_cut_tears_is_read_again(
    tmp_path: Path, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    store = tmp_path / "store"
    stop_after(store, 18)
    work = store / ".partial"
    lines, samples = sorted(work.glob("lines-*"))[-1], sorted(work.glob("signals-*"))[-1]
    match harm:
        case "torn lines":
            lines.write_bytes(lines.read_bytes()[:-40])
        case "no lines":
            lines.write_bytes(b"")
        case "torn samples":
            os.truncate(samples, samples.stat().st_size - 100)
        case "no samples":
            os.truncate(samples, 0)
        case "lost samples":
            samples.unlink()
        case "zeros":
            data = bytearray(samples.read_bytes())
            data[-50:] = bytes(50)
            samples.write_bytes(data)
    seen: list[int] = []
    import_(Made(), store, seconds=SECONDS, progress=lambda done, total: seen.append(done))
    assert seen[0] < 18
    assert content(store) == whole


def stop_after(store: Path, records: int, error: type[BaseException] = Killed, workers: int = 0) -> None:
    """Import until so many records are done."""

    def stop(done: int, total: int) -> None:
        if done >= records:
            raise error

    with pytest.raises(error):
        import_(Made(), store, seconds=SECONDS, progress=stop, workers=workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_says_how_to_go_on(tmp_path: Path, whole: dict[str, str], workers: int) -> None:
    store = tmp_path / "store"

    def stop(done: int, total: int) -> None:
        if done >= 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"Stopped after 9 of 25 records\. The same command goes on"):
        import_(Made(), store, seconds=SECONDS, progress=stop, workers=workers)
    assert not (store / "store.json").exists()
    assert content(import_(Made(), store, seconds=SECONDS).path) == whole


def test_a_real_interrupt_ends_the_workers(tmp_path: Path, small: None) -> None:
    program = start(tmp_path / "store", 2, 0.05)
    wait_for(program, 3)
    children = workers_of(program.pid)
    assert len(children) == 2
    program.send_signal(signal.SIGINT)
    _, told = program.communicate(timeout=10)
    assert "KeyboardInterrupt: Stopped after" in told.splitlines()[-1]
    assert not any(map(alive, children))


def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    program = start(tmp_path / "store", 2, 0.05)
    wait_for(program, 3)
    children = workers_of(program.pid)
    assert len(children) == 2
    program.kill()
    program.communicate()
    end = time.monotonic() + 10
    while any(map(alive, children)) and time.monotonic() < end:
        time.sleep(0.02)
    assert not any(map(alive, children))


def workers_of(parent: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(parent).children()]


def alive(process: int) -> bool:
    import psutil

    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_unfinished_work_of_another_import_is_kept(tmp_path: Path, whole: dict[str, str]) -> None:
    store = tmp_path / "store"
    stop_after(store, 9)
    for source, hertz in ((Made(), 50.0), (Made(24), 100.0)):
        with pytest.raises(ValueError, match=r"unfinished import of other files or settings: .*delete it"):
            import_(source, store, seconds=SECONDS, hertz=hertz)
    seen: list[int] = []
    import_(Made(), store, seconds=SECONDS, progress=lambda done, total: seen.append(done))
    assert seen[0] == 9 and content(store) == whole


def test_other_options_start_afresh_where_no_work_is_lost(tmp_path: Path, small: None) -> None:
    stop_after(tmp_path / "store", 0)
    assert import_(Made(), tmp_path / "store", seconds=SECONDS, hertz=50.0).hertz == 50


def test_a_place_for_the_unfinished_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Path.mkdir

    def full(path: Path, *args: Any, **options: Any) -> None:
        if path.name == ".partial":
            raise OSError(errno.ENOSPC, "No space left on device")
        make(path, *args, **options)

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(ValueError, match=r"The disk is full while writing .*free some space"):
        import_(Made(), tmp_path / "store", seconds=SECONDS)


def test_two_imports_do_not_write_one_store(tmp_path: Path, small: None) -> None:
    def second(done: int, total: int) -> None:
        with pytest.raises(ValueError, match="Another process is writing"):
            import_(Made(), tmp_path / "store", seconds=SECONDS)

    import_(Made(), tmp_path / "store", seconds=SECONDS, progress=second)


def test_a_full_disk_is_one_line_and_the_work_goes_on(
    tmp_path: Path, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    for moment in (2, 4, 6):
        calls = itertools.count()

        def full(handle: int, calls: itertools.count = calls, moment: int = moment) -> None:
            if next(calls) == moment:
                raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as disk:
            disk.setattr(os, "fsync", full)
            with pytest.raises(
                ValueError, match=r"The disk is full while writing .*free some space"
            ) as refused:
                import_(Made(), store, seconds=SECONDS)
        assert "\n" not in str(refused.value) and not (store / "store.json").exists()
    assert content(import_(Made(), store, seconds=SECONDS).path) == whole


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"Cannot write .*file.* choose another place"):
        import_(Made(), tmp_path / "file" / "store", seconds=SECONDS)
    with pytest.raises(ValueError, match=r"Cannot write .*file"):
        import_(Made(), tmp_path / "file", seconds=SECONDS)


def test_a_worker_that_dies_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="A worker ended at records .*words stand above"):
        import_(Broken(), tmp_path / "store", workers=1)
    capfd.readouterr()


def test_a_worker_that_is_killed_is_one_line(tmp_path: Path, small: None) -> None:
    def kill_one(done: int, total: int) -> None:
        if done == 6:
            os.kill(workers_of(os.getpid())[0], signal.SIGKILL)

    with pytest.raises(ValueError, match=r"A worker was killed \(signal 9\).* take fewer workers"):
        import_(Made(), tmp_path / "store", seconds=SECONDS, workers=1, progress=kill_one)


def test_other_arrays_in_memory_are_another_source(tmp_path: Path) -> None:
    class InMemory(Made):
        def __init__(self, ecg: np.ndarray):
            super().__init__(3)
            self.ecg = ecg

    import_(InMemory(noise(0)), tmp_path / "store", seconds=SECONDS)
    import_(InMemory(noise(0)), tmp_path / "store", seconds=SECONDS)
    with pytest.raises(ValueError, match="another source"):
        import_(InMemory(noise(1)), tmp_path / "store", seconds=SECONDS)


def test_a_large_array_is_told_without_a_copy() -> None:
    array = np.zeros((1000, 1000))
    tracemalloc.start()
    told = importing.told_by(array)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert told == ["float64", 1000, 1000, zlib.crc32(array.tobytes())] and peak < array.nbytes / 10
    for other in (array.T, array[:, ::2], np.array(1.5), np.array(["2020"], "datetime64[D]")):
        assert importing.told_by(other)[-1] == zlib.crc32(other.tobytes())
    assert importing.told_by(np.array(["a", 1], object)) == ["object", 2, "a", "1"]


def test_a_file_of_another_size_is_another_import(tmp_path: Path) -> None:
    class Listed(Made):
        def __init__(self, path: Path):
            super().__init__(3)
            self.path, self.files = path, ("0.csv", path / "1.csv")

    (tmp_path / "0.csv").write_text("1")
    import_(Listed(tmp_path), tmp_path / "store", seconds=SECONDS)
    import_(Listed(tmp_path), tmp_path / "store", seconds=SECONDS)
    (tmp_path / "1.csv").write_text("22")
    with pytest.raises(ValueError, match=r"files have changed since\) .*delete it"):
        import_(Listed(tmp_path), tmp_path / "store", seconds=SECONDS)


def test_made_up_ecgs_are_made_at_the_rate_of_the_store(tmp_path: Path) -> None:
    options = {"records": 2, "seed": 4}
    store = einthoven.python.import_("synthetic", None, tmp_path / "store", hertz=500.0, options=options)
    want = Synthetic(records=2, seed=4, hertz=500.0).read(1).signal
    np.testing.assert_allclose(store.read(np.array([1]))[0], want, atol=0.00051)
    with pytest.raises(ValueError, match=r"50 to 2000 Hz, got hertz = 25; .*--set hertz=100") as refused:
        einthoven.python.import_("synthetic", None, tmp_path / "slow", hertz=25.0, options=options)
    assert "\n" not in str(refused.value)
    slow = einthoven.python.import_(
        "synthetic", None, tmp_path / "slow", hertz=25.0, options=options | {"hertz": 100}
    )
    assert slow.hertz == 25.0


def test_files_are_read_one_at_a_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", noise(0))
    (tmp_path / "b.npy").write_bytes(b"torn")
    records = read_files([tmp_path / "a.npy", tmp_path / "b.npy"], {"hertz": 100, "units": "mV"})
    assert next(records).signal.shape == (12, 200)
    with pytest.raises(ValueError, match=r"b\.npy"):
        next(records)


def test_a_source_in_a_script_needs_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Made, "__module__", "__main__")
    with pytest.raises(ValueError, match="Workers cannot load Made from a script"):
        import_(Made(), tmp_path / "store", workers=2)


def test_workers_load_no_torch(tmp_path: Path) -> None:
    code = "import einthoven.data.workers, einthoven.data.importing, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "pandas", "pyarrow", "scipy", "numba", "matplotlib"} & set(loaded)


def test_names_are_remembered_at_eight_bytes_each() -> None:
    seen, known = Seen(), set()
    rng = np.random.default_rng(0)
    for _ in range(60):
        names = [str(n) for n in rng.integers(0, 4000, rng.integers(0, 200))]
        new = seen.add(names)
        for name, is_new in zip(names, new, strict=True):
            assert is_new == (name not in known)
            known.add(name)
    assert len(seen) == len(known) and sum(run.nbytes for run in seen.runs) == 8 * len(known)
    assert len(seen.runs) < 12
