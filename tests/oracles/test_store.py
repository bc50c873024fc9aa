"""The store: windows of many ECGs, from several shards, and what it says when it is not whole."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from einthoven.data import files
from einthoven.data.store import column_kind, open_store, read_table, verify, write_table
from einthoven.ecg import LEADS

SHARDS, SAMPLES = (4, 4, 3), 50


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store written from its description: three shards of random counts."""
    rng = np.random.default_rng(0)
    for number, records in enumerate(SHARDS):
        counts = rng.integers(-32767, 32768, (records, 12, SAMPLES), dtype=np.int16)
        np.save(tmp_path / f"signals-{number:05d}.npy", counts)
    lines = [{"record_id": f"r{n}", "fold": n or None} for n in range(sum(SHARDS))]
    with files.new_file(tmp_path / "records.parquet") as file:
        write_table(file, lines, {"record_id": str, "fold": int})
    with files.new_file(tmp_path / "rejected.parquet") as file:
        write_table(file, [], {"index": int, "label": str, "reason": str})
    facts = {
        "format": 1,
        "title": "random",
        "source": "test",
        "synthetic": True,
        "leads": LEADS,
        "hertz": 25.0,
        "seconds": 2.0,
        "samples": SAMPLES,
        "microvolts": 2.5,
        "tasks": {"codes": ["a", "b"]},
        "counts": {"records": 11, "patients": 7, "rejected": 0},
        "shards": SHARDS,
        "files": {
            path.name: {"bytes": path.stat().st_size, "sha256": files.checksum(path)}
            for path in sorted(tmp_path.iterdir())
        },
        "fingerprint": "f",
    }
    files.write_json(tmp_path / "store.json", facts)
    return tmp_path


def millivolts(folder: Path) -> np.ndarray:
    counts = np.concatenate([np.load(folder / f"signals-{n:05d}.npy") for n in range(len(SHARDS))])
    return (counts * np.float64(0.0025)).astype(np.float32)


def test_a_crop_is_what_slicing_gives(folder: Path) -> None:
    store, want = open_store(folder), millivolts(folder)
    rng = np.random.default_rng(1)
    for samples in (1, 7, SAMPLES):
        rows = rng.integers(0, 11, 64)
        starts = rng.integers(0, SAMPLES - samples + 1, 64)
        got = store.crop(rows, starts, samples)
        assert got.dtype == np.float32 and got.shape == (64, 12, samples)
        slices = [want[row][:, start : start + samples] for row, start in zip(rows, starts, strict=True)]
        np.testing.assert_allclose(got, np.stack(slices), rtol=3e-7)
    np.testing.assert_allclose(store.read(np.arange(11)), want, rtol=3e-7)


def test_beyond_the_record_is_padding(folder: Path) -> None:
    store, want = open_store(folder), millivolts(folder)
    starts = np.array([-5, 45, -200, 200, -3])
    padded = np.pad(want, ((0, 0), (0, 0), (300, 300)))
    for samples in (10, 60):
        got = store.crop(np.array([0, 5, 6, 7, 10]), starts, samples)
        for ecg, row, start in zip(got, (0, 5, 6, 7, 10), starts, strict=True):
            np.testing.assert_allclose(ecg, padded[row][:, 300 + start : 300 + start + samples], rtol=3e-7)


def test_a_gap_is_0_or_nan_and_padding_is_0(folder: Path) -> None:
    counts = np.load(folder / "signals-00001.npy")
    counts[2, 3, 10:20], counts[2, 4] = -32768, -32768
    np.save(folder / "signals-00001.npy", counts)
    store, rows, starts = open_store(folder), np.array([5, 6, 10]), np.array([-5, 8, 0])
    want = np.pad(millivolts(folder), ((0, 0), (0, 0), (5, 10)))
    missing = np.zeros(want.shape, bool)
    missing[6, 3, 15:25] = missing[6, 4, 5 : 5 + SAMPLES] = True
    for gaps, value in ((False, 0), (True, np.nan)):
        want[missing] = value
        np.testing.assert_allclose(store.read(rows, gaps=gaps), want[rows, :, 5 : 5 + SAMPLES], rtol=3e-7)
        got = store.crop(rows, starts, SAMPLES, gaps=gaps)
        for ecg, row, first in zip(got, rows, starts + 5, strict=True):
            np.testing.assert_allclose(ecg, want[row, :, first : first + SAMPLES], rtol=3e-7)
    assert not np.isnan(store.read(rows)).any()


@pytest.mark.parametrize("row", [-1, 11])
def test_a_row_that_is_not_there_is_no_crash(folder: Path, row: int) -> None:
    with pytest.raises(IndexError, match="rows 0 to 10"):
        open_store(folder).read(np.array([0, row]))


def test_no_rows_give_no_ecgs(folder: Path) -> None:
    assert open_store(folder).read(np.array([], dtype=np.int64)).shape == (0, 12, SAMPLES)


def test_what_it_says_of_itself(folder: Path) -> None:
    store = open_store(folder)
    assert len(store) == 11 and store.leads == LEADS and store.tasks == {"codes": ("a", "b")}
    assert str(store) == "random (synthetic): 11 records of 7 patients, 12 leads, 25 Hz, 2 s; 0 rejected"
    assert len(store.rejected) == 0 and list(store.rejected.columns) == ["index", "label", "reason"]


def test_records_are_found_by_their_id(folder: Path) -> None:
    store = open_store(folder)
    assert [store.row_of(f"r{n}") for n in (0, 10, 4)] == [0, 10, 4]
    with pytest.raises(ValueError, match="has no record 'x'; its first is 'r0'"):
        store.row_of("x")


def test_nobody_writes_into_a_store(folder: Path) -> None:
    store = open_store(folder)
    with pytest.raises(ValueError, match="read-only"):
        store.shards[0][0, 0, 0] = 1


def test_a_pickled_store_opens_again_where_it_arrives(folder: Path) -> None:
    store = open_store(folder)
    want = store.read(np.arange(11))
    sent = pickle.dumps(store)
    assert len(sent) < 1000  # its path, not its signals
    np.testing.assert_array_equal(pickle.loads(sent).read(np.arange(11)), want)


def change(folder: Path, **values: object) -> None:
    facts = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps(facts | values))


def test_what_is_no_whole_store_is_one_line(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    for path in (other, other / "nothing"):
        with pytest.raises(ValueError, match=r"is no store .*einthoven import"):
            open_store(path)
    (other / ".partial").mkdir()
    with pytest.raises(ValueError, match=r"is unfinished: give its `einthoven import` command again"):
        open_store(other)
    with pytest.raises(ValueError, match="is no store"):
        open_store(folder / "store.json")
    change(folder, format=2)
    with pytest.raises(ValueError, match=r"newer einthoven \(format 2\): upgrade"):
        open_store(folder)
    (folder / "store.json").write_text("[]")
    with pytest.raises(ValueError, match=r"store.json is not the file of a store"):
        open_store(folder)
    (folder / "store.json").write_text("{")
    with pytest.raises(ValueError, match=r"store.json is damaged .*import again"):
        open_store(folder)


def test_a_damaged_file_is_named(folder: Path) -> None:
    shard = folder / "signals-00001.npy"
    store, data = open_store(folder), bytearray(shard.read_bytes())
    assert verify(store) == []
    data[-1] ^= 1
    shard.write_bytes(data)
    (line,) = verify(open_store(folder))
    assert "signals-00001.npy is damaged" in line
    shard.write_bytes(data[:-1])
    with pytest.raises(ValueError, match=r"signals-00001\.npy has [\d,]+ bytes, not"):
        open_store(folder)
    shard.unlink()
    with pytest.raises(ValueError, match=r"signals-00001\.npy has 0 bytes"):
        open_store(folder)


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    columns = {
        "name": str,
        "count": int,
        "gaps": int,
        "share": float,
        "yes": bool,
        "maybe": bool,
        "codes": list,
    }
    lines = [
        {"name": "ä\u2028\n", "count": 2**60, "gaps": None, "share": 0.1, "yes": True, "codes": ["b", "a"]},
        {"name": None, "count": -1, "gaps": 3, "share": None, "yes": False, "maybe": True, "codes": None},
        {"name": 7, "count": True, "share": 2, "yes": True, "codes": "one"},
    ]
    for path in (tmp_path / "a", tmp_path / "b"):
        with files.new_file(path) as file:
            write_table(file, lines * 5000, columns)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    table = read_table(tmp_path / "a")
    assert len(table) == 15000 and list(table.columns) == list(columns)
    assert list(table["count"][-3:]) == [2**60, -1, 1] and table["count"].dtype == np.int64
    assert table.name[0] == "ä\u2028\n" and table.name.isna()[1] and table.name[2] == "7"
    assert str(table.gaps.dtype) == "Int64" and table.gaps[1] == 3 and table.gaps.isna()[0]
    assert table.share[0] == 0.1 and table.share[2] == 2.0 and np.isnan(table.share[1])
    assert table.yes.dtype == bool and str(table.maybe.dtype) == "boolean"
    assert [list(codes) for codes in table.codes[:3]] == [["b", "a"], [], ["one"]]


def test_the_kind_of_a_column_holds_all_its_values() -> None:
    assert [column_kind(k) for k in ([int], [bool, int], [int, float], [float, str], [str, list], [])] == [
        *(int, int, float, str, list, str)
    ]


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.new_file(path) as file:
        file.write(b"half of the n")
        raise RuntimeError
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file"]
    files.write_json(path, {"b": "ä", "a": [1, 2.5, None]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"b": "ä", "a": [1, 2.5, None]}
