"""LUDB's layout, made here with wfdb's own writers, and the real set where it is."""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cohorts import heartbeat
from einthoven.data.delineation import Complex, complexes, heart_rate, qrs_ms, read_complexes
from einthoven.data.importing import import_
from einthoven.data.sources.ludb import LUDB, NEEDED, NONE, TABLE
from einthoven.data.sources.wfdb import WFDB, package
from einthoven.data.store import open_store
from einthoven.ecg import LEADS, Record

wfdb = package()
# Its writers use what pandas means to give up.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword", "ignore::DeprecationWarning:wfdb")
LINE = {
    "Sex": "F\n",
    "Age": "51\n",
    "Rhythms": "Sinus bradycardia\nWandering atrial pacemaker",
    "Electric axis of the heart": "Electric axis of the heart: left axis deviation",
    "Hypertrophies": "Left ventricular overload\nLeft ventricular hypertrophy",
    "Ischemia": "Stemi: septal",
}
Wave = tuple[int | None, int, int | None]  # onset, peak, offset


def microvolts(seed: int = 0) -> np.ndarray:
    """(lead, time): counts that obey Einthoven's law, as LUDB's do."""
    ecg = np.rint(1000 * heartbeat(np.random.default_rng(seed), hertz=500)).astype(np.int64)
    ecg[2] = ecg[1] - ecg[0]
    return ecg


def write(
    folder: Path,
    name: str,
    counts: np.ndarray,
    *,
    waves: Sequence[Wave] | None = None,
    gain: float | None = None,
) -> Path:
    """Write one record; without a gain, each lead's range stands for it, as in LUDB 1.0.1."""
    folder.mkdir(parents=True, exist_ok=True)
    gains = np.ptp(counts, axis=1).astype(float).tolist() if gain is None else [gain] * len(counts)
    wfdb.wrsamp(
        name,
        fs=500,
        units=["mV"] * len(counts),
        sig_name=[lead.lower() for lead in LEADS],
        d_signal=counts.T,
        fmt=["16"] * len(counts),
        adc_gain=gains,
        baseline=[int(mean) for mean in counts.mean(axis=1)],
        write_dir=str(folder),
    )
    if waves is not None:
        marks = [(at, mark) for wave in waves for at, mark in zip(wave, "(N)", strict=True) if at is not None]
        marks = sorted([*marks, (3, "("), (5, "p"), (9, ")")])
        times, symbols = zip(*marks, strict=True)
        wfdb.wrann(name, "ii", np.array(times), list(symbols), fs=500, write_dir=str(folder))
    return folder / f"{name}.hea"


def table(root: Path, lines: Mapping[str, Mapping[str, str]]) -> None:
    rows = [{name: "" for name in NEEDED} | LINE | dict(line) | {"ID": key} for key, line in lines.items()]
    pd.DataFrame(rows)[list(NEEDED)].to_csv(root / TABLE, index=False)


WAVES: list[Wave] = [
    (480, 500, 530),
    (None, 900, 940),
    (1375, 1400, 1425),
    (2000, 2025, None),
    (2390, 2410, 2440),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three records: marked, not marked, and marked with one beat only."""
    folder = tmp_path / "ludb"
    write(folder / "data", "1", microvolts(1), waves=WAVES)
    write(folder / "data", "2", microvolts(2))
    write(folder / "data", "10", microvolts(3), waves=[(None, 700, 750)])
    plain = {"Hypertrophies": "", "Ischemia": "", "Sex": "M\n", "Rhythms": "Sinus rhythm"}
    axis = {"Electric axis of the heart": ""}
    table(
        folder, {"1": {}, "2": plain | {"Age": ">89\n"}, "10": plain | axis | {"Other states": "Early r\n"}}
    )
    return folder


def records(source: LUDB) -> list[Record]:
    found = list(source.read_many(0, len(source)))
    assert all(isinstance(record, Record) for record in found), found
    return [record for record in found if isinstance(record, Record)]


def test_reads_what_the_table_and_the_marks_say(root: Path) -> None:
    source = pickle.loads(pickle.dumps(LUDB(root)))
    first, second, third = records(source)
    assert (len(source), source.label(2), source.title) == (3, "data/10", "LUDB subset of 3 records")
    assert (first.record_id, first.patient_id, first.hertz, first.leads) == ("1", "subject-1", 500.0, LEADS)
    # Gaps of 400, 500, 625 and 385 samples: the median is 450. Durations of 50, 50 and 50: 100 ms.
    assert first.row == {
        "age": "51",
        "sex": "F",
        "rhythm": ["Sinus bradycardia", "Wandering atrial pacemaker"],
        "diagnosis": ["Left ventricular hypertrophy", "Left ventricular overload", "Stemi: septal"],
        "disorder": ["hypertrophy", "ischemia"],
        "axis": "left axis deviation",
        "heart_rate": pytest.approx(60 * 500 / 450),
        "qrs_ms": pytest.approx(100.0),
    }
    assert second.row["age"] == 90 and second.row["diagnosis"] == second.row["disorder"] == [NONE]
    assert np.isnan(second.row["heart_rate"]) and np.isnan(second.row["qrs_ms"])
    assert np.isnan(third.row["heart_rate"]) and np.isnan(third.row["qrs_ms"])
    assert third.row["axis"] == "" and third.row["disorder"] == ["other"]


def test_the_folder_of_signals_serves_as_well(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "data")
    for path in (root / "data", Path(".")):
        assert records(LUDB(path))[0].row == records(LUDB(root))[0].row


def test_a_count_is_a_microvolt_where_the_gain_is_but_the_range(root: Path, tmp_path: Path) -> None:
    counts = microvolts(1)
    np.testing.assert_allclose(LUDB(root).read(0).signal, counts / 1000, atol=1e-6)
    as_told = WFDB(root / "data").read(0).signal
    np.testing.assert_allclose(np.ptp(as_told, axis=1), 1, atol=1e-5)  # what the header would have
    write(tmp_path / "true/data", "1", counts, gain=2000.0)
    table(tmp_path / "true", {"1": {}})
    mean = counts.mean(axis=1).astype(int)[:, None]
    np.testing.assert_allclose(LUDB(tmp_path / "true").read(0).signal, (counts - mean) / 2000, atol=1e-6)


def test_becomes_a_store(root: Path, tmp_path: Path) -> None:
    import_(LUDB(root), tmp_path / "store", hertz=100.0)
    store = open_store(tmp_path / "store")
    assert (store.source, len(store), store.hertz) == ("ludb", 3, 100.0)
    assert store.tasks["disorder"] == ("hypertrophy", "ischemia", NONE, "other")
    assert store.tasks["rhythm"] == ("Sinus bradycardia", "Sinus rhythm", "Wandering atrial pacemaker")
    table = store.records.set_index("record_id")
    assert table["sex"].tolist() == ["female", "male", "male"] and table["age"].tolist() == [51, 90, 51]
    assert table["heart_rate"].isna().tolist() == [False, True, True] and not table["law"].any()
    assert table["fold"].isna().all()


def reason(root: Path, index: int = 0) -> str:
    with pytest.raises(ValueError) as caught:
        LUDB(root).read(index)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_damaged_is_one_reason(root: Path) -> None:
    data = root / "data"
    whole = (data / "1.dat").read_bytes()
    (data / "1.dat").write_bytes(whole[:-1000])
    assert "1.dat: cut short, it holds" in reason(root)
    (data / "1.dat").unlink()
    assert "1.dat: cannot read the signals" in reason(root)
    (data / "1.dat").write_bytes(whole)
    (data / "1.hea").unlink()
    assert "1.hea: cannot read the header" in reason(root)
    assert isinstance(LUDB(root).read(1), Record)


def test_marks_that_are_cut_short_are_told(root: Path) -> None:
    marks = (root / "data/1.ii").read_bytes()
    (root / "data/1.ii").write_bytes(marks[:-4])  # between two marks: what is left can be read
    assert "1.ii: the annotations are cut short" in reason(root)


@pytest.mark.parametrize("damage", [b"", b"\1", b"\0\0", b"\xff" * 40, bytes(range(64)), b"not marks at all"])
def test_damaged_marks_are_told(root: Path, damage: bytes) -> None:
    (root / "data/1.ii").write_bytes(damage)
    assert "1.ii: " in reason(root)


def test_marks_outside_the_ecg_are_refused(root: Path) -> None:
    write(root / "data", "1", microvolts(1)[:, :2000], waves=WAVES)
    assert "1.ii: damaged annotations, their times do not rise or leave the ECG" in reason(root)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "ludb.csv is not a table of comma-separated text (it is empty)"),
        (b"\x00\x01\x02", "ludb.csv is not a table of comma-separated text (it holds binary data"),
        (b'ID,Sex\n1,"F\n', "the quote that opens in line 2 is never closed"),
        (b"ID,Sex,Age\n1,F,3\n", "has no column 'Rhythms', 'Electric axis of the heart'"),
        ((",".join(NEEDED) + "\n").encode(), "lists no record"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_line(root: Path, text: bytes, told: str) -> None:
    (root / TABLE).write_bytes(text)
    with pytest.raises(ValueError) as caught:
        LUDB(root)
    assert told in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "told"), [("../1", "is no name of a record"), ("1", "stands in it twice")])
def test_an_id_names_one_file(root: Path, name: str, told: str) -> None:
    table(root, {"1": {}, "2": {}})
    text = (root / TABLE).read_text().replace("\n2,", f"\n{name},")
    (root / TABLE).write_text(text)
    with pytest.raises(ValueError, match=told):
        LUDB(root)


def test_other_folders_are_refused_with_a_hint(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is no LUDB folder: it has no ludb.csv.* Did you mean .*ludb\?"):
        LUDB(tmp_path)
    with pytest.raises(ValueError, match="is no LUDB folder"):
        LUDB(root / TABLE)
    table(root, {"77": {}})
    with pytest.raises(ValueError, match="holds none of the 1 records that ludb.csv lists"):
        LUDB(root)


def test_complexes_are_those_that_wfdb_wrote(root: Path) -> None:
    found = read_complexes(root / "data/1.ii", 5000)
    assert [(one.onset, one.peak, one.offset) for one in found] == WAVES
    with pytest.raises(ValueError, match="9.ii: cannot read the annotations"):
        read_complexes(root / "data/9.ii")


def test_rates_and_durations_of_marks() -> None:
    marked = list(complexes([1, 2, 8, 10, 20, 30, 40, 41], ["N", ")", "(", "N", "(", "N", "N", ")"]))
    assert marked == [Complex(None, 1, 2), Complex(8, 10, None), Complex(20, 30, None), Complex(None, 40, 41)]
    assert heart_rate(marked, 10.0) == 60 and np.isnan(qrs_ms(marked, 10.0))
    assert np.isnan(heart_rate(marked[:1], 10.0)) and np.isnan(heart_rate([Complex(None, 1, None)] * 2, 10.0))


@pytest.mark.data
def test_the_real_set(data: Path) -> None:
    for folder in (data, data / "ludb", data.parent / "ludb"):
        if (folder / TABLE).is_file():
            break
    else:
        pytest.skip("no LUDB beside EINTHOVEN_DATA")
    found = records(LUDB(folder))
    assert len(found) == 200 and LUDB(folder).title == "LUDB"
    assert sum(record.row["sex"] == "F" for record in found) == 85
    counts = pd.Series([name for record in found for name in record.row["rhythm"]]).value_counts()
    assert counts["Sinus rhythm"] == 143 and counts["Atrial fibrillation"] == 15  # as its README says
    rates = np.array([record.row["heart_rate"] for record in found])
    widths = np.array([record.row["qrs_ms"] for record in found])
    assert rates.min() > 30 and rates.max() < 200 and np.isnan(widths).sum() == 1
    assert np.nanmin(widths) > 50 and np.nanmax(widths) < 200
    for record in found:
        one, two, three = record.signal[:3].astype(np.float64)
        np.testing.assert_allclose(two, one + three, atol=1e-6)  # the law holds in microvolts, to the last
