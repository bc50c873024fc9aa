"""The source of the PhysioNet/CinC challenges, on files of that layout that are made here."""

import json
import pickle
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from cohorts import heartbeat
from einthoven.data import snomed
from einthoven.data.importing import import_
from einthoven.data.sources.cinc import CinC
from einthoven.data.sources.wfdb import WFDB, package
from einthoven.ecg import LEADS, Record
from einthoven.run import train

wfdb = package()
# The two ways in which the eight sets spell a signal, and one with a gain and a baseline of its own.
SPELLINGS = ("16+24 1000/mV", "16x1+24 1000.0(0)/mV", "16x1+24 2000.0(-17)/mV")
WHO = ("Age: 74", "Sex: Male", "Dx: 426783006,164889003", "Rx: Unknown", "Hx: Unknown", "Sx: Unknown")


def counts_of(ecg: np.ndarray, gain: float = 1000.0, baseline: int = 0) -> np.ndarray:
    return np.rint(ecg * gain + baseline).astype(np.int16)


def write(
    path: Path,
    counts: np.ndarray,
    *,
    spelling: str = SPELLINGS[0],
    hertz: int = 500,
    leads: Sequence[str] = LEADS,
    comments: Sequence[str] = WHO,
    mark: str = "#",
) -> Path:
    """Write one record (lead, time) as the challenges do; return its header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path.with_suffix(".mat"), {"val": counts}, format="4")
    format_, gain = spelling.split()
    sums = counts.sum(axis=1, dtype=np.int16)
    lines = [f"{path.name} {len(leads)} {hertz} {counts.shape[1]} 05-Feb-2020 11:39:16"]
    lines += [
        f"{path.name}.mat {format_} {gain} 16 0 {first} {total} 0 {lead}"
        for first, total, lead in zip(counts[:, 0], sums, leads, strict=False)
    ]
    header = path.with_suffix(".hea")
    header.write_text("\n".join([*lines, *(mark + comment for comment in comments)]) + "\n")
    return header


@pytest.fixture(scope="module")
def counts() -> np.ndarray:
    return counts_of(heartbeat(np.random.default_rng(0), hertz=500, seconds=2))


def reason(folder: Path, **options: Any) -> str:
    """Why the only record of a folder is refused, in one line."""
    with pytest.raises(ValueError) as caught:
        CinC(folder, **options).read(0)
    text = str(caught.value)
    assert "\n" not in text and str(folder) in text
    return text


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_equals_the_wfdb_package(tmp_path: Path, spelling: str) -> None:
    gain, baseline = (2000.0, -17) if "-17" in spelling else (1000.0, 0)
    ecg = heartbeat(np.random.default_rng(1), hertz=500, seconds=3)
    stored = counts_of(ecg, gain, baseline)
    write(tmp_path / "A0001", stored, spelling=spelling)
    record = CinC(tmp_path).read(0)
    theirs = wfdb.rdrecord(str(tmp_path / "A0001"))
    assert (record.record_id, record.patient_id, record.hertz) == ("A0001", "A0001", 500)
    assert record.leads == LEADS == tuple(theirs.sig_name) and record.signal.dtype == np.float32
    digital = wfdb.rdrecord(str(tmp_path / "A0001"), physical=False).d_signal.T
    np.testing.assert_array_equal(digital, stored)  # so the oracle, too, skipped 24 bytes
    np.testing.assert_array_equal(np.rint(record.signal * np.float64(gain) + baseline), stored)
    np.testing.assert_allclose(record.signal, theirs.p_signal.T, rtol=2e-7, atol=0)  # float32 of it
    np.testing.assert_array_equal(WFDB(tmp_path).read(0).signal, record.signal)


def test_reads_bytes_written_by_hand(tmp_path: Path, counts: np.ndarray) -> None:
    header = write(tmp_path / "E00001", counts)
    head = struct.pack("<5i", 30, 12, counts.shape[1], 0, 4) + b"val\0"
    assert header.with_suffix(".mat").read_bytes() == head + counts.T.astype("<i2").tobytes()


def test_samples_that_were_lost_are_nan(tmp_path: Path, counts: np.ndarray) -> None:
    gap = counts.copy()
    gap[3, 10:20] = -32768
    write(tmp_path / "A0001", gap)
    signal = CinC(tmp_path).read(0).signal
    assert np.isnan(signal).sum() == 10 and np.isnan(signal[3, 10:20]).all()


def test_finds_records_in_nested_folders_and_flat(tmp_path: Path, counts: np.ndarray) -> None:
    for name in ("training/cpsc_2018/g1/A0001", "training/georgia/g2/E00001", "S0001"):
        write(tmp_path / name, counts)
    (tmp_path / "training/cpsc_2018/g1/RECORDS").write_text("A0001\n")
    source = pickle.loads(pickle.dumps(CinC(tmp_path)))
    assert [source.read(i).record_id for i in range(len(source))] == ["S0001", "A0001", "E00001"]
    assert source.label(1) == "training/cpsc_2018/g1/A0001" and tmp_path.name in source.title
    write(tmp_path / "g2/S0001", counts)
    again = CinC(tmp_path)
    assert again.read(again.records.index("g2/S0001")).record_id == "g2/S0001"


@pytest.mark.parametrize("mark", ["#", "# "])
def test_reads_who_and_what(tmp_path: Path, counts: np.ndarray, mark: str) -> None:
    write(tmp_path / "a", counts, mark=mark)
    write(tmp_path / "b", counts, mark=mark, comments=("Age: NaN", "Sex: NaN", "Dx: Unknown", "Rx: Unknown"))
    write(tmp_path / "c", counts, mark=mark, comments=("Age: 45", "Sex: F"))
    write(tmp_path / "d", counts, mark=mark, comments=("Age: 45", "Sex: Female", "Dx:", "Rx: Unknown"))
    rows = [record.row for record in CinC(tmp_path).read_many(0, 4) if isinstance(record, Record)]
    assert [row["sex"] for row in rows] == ["male", None, "female", "female"]
    assert np.array_equal([row["age"] for row in rows], [74, np.nan, 45, 45], equal_nan=True)
    assert rows[0]["snomed"] == rows[0]["scored"] == ["AF", "NSR"] and rows[0]["cpsc2018"] == ["AF", "NORM"]
    for row in rows[1:]:  # no diagnosis: known by its ECG alone
        assert row["snomed"] == row["scored"] == row["cpsc2018"] == []
    assert set(rows[0]) == {"age", "sex", "snomed", "scored", "cpsc2018"}


def test_labels_by_hand(tmp_path: Path, counts: np.ndarray) -> None:
    dx = "Dx: 713427006, 63593006,17338001,733534002,164931005,164865005,59118001,164884008"
    write(tmp_path / "a", counts, comments=(dx,))
    row = CinC(tmp_path).read(0).row
    assert row["snomed"] == ["164865005", "CLBBB", "CRBBB", "RBBB", "STE", "SVPB", "VEB", "VPB"]
    assert row["scored"] == ["LBBB", "PAC", "PVC", "RBBB"]
    assert row["cpsc2018"] == ["LBBB", "PAC", "PVC", "RBBB", "STE"]


@pytest.mark.parametrize(
    ("comments", "codes"),
    [
        (("Dx:", "recorded at ward 5"), []),
        (("Dx: abc",), []),
        (("Dx: 59118001 164889003",), ["AF", "RBBB"]),
        (("Dx: 59118001.0,59118001",), ["RBBB"]),
    ],
)
def test_only_codes_are_statements(
    tmp_path: Path, counts: np.ndarray, comments: tuple[str, ...], codes: list[str]
) -> None:
    write(tmp_path / "a", counts, comments=comments)
    assert CinC(tmp_path).read(0).row["snomed"] == codes


def test_the_table_of_codes_has_the_counts_of_the_challenge() -> None:
    assert len(snomed.SCORED) == len(set(snomed.SCORED.values())) == 30
    assert all(code.isdecimal() for code in snomed.NAMES) and len(snomed.NAMES) == 33
    every = snomed.tasks(snomed.NAMES)
    assert len(every["snomed"]) == 33 and len(every["scored"]) == 26
    assert every["cpsc2018"] == sorted(["NORM", "AF", "I-AVB", "LBBB", "RBBB", "PAC", "PVC", "STD", "STE"])
    for pair in (("164909002", "733534002"), ("59118001", "713427006"), ("284470004", "63593006")):
        assert len({tuple(snomed.tasks([code])["scored"]) for code in pair}) == 1


def test_says_what_is_wrong_with_the_samples(tmp_path: Path, counts: np.ndarray) -> None:
    header = write(tmp_path / "A0001", counts)
    mat = header.with_suffix(".mat")
    whole = mat.read_bytes()
    mat.write_bytes(whole[:-24])
    assert "A0001.mat: cut short, it holds 999 of the 1,000 samples" in reason(tmp_path)
    mat.write_bytes(whole[:10])
    assert "A0001.mat: cut short, it holds 10 bytes" in reason(tmp_path)
    mat.write_bytes(b"")
    assert "A0001.mat: is empty" in reason(tmp_path)
    mat.write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "A0001.mat: holds text, not samples" in reason(tmp_path)
    mat.unlink()
    assert "A0001.mat: cannot read the signals (No such file" in reason(tmp_path)
    mat.write_bytes(whole)
    header.unlink()
    assert "no .hea file" in reason(tmp_path)
    write(tmp_path / "B0001", counts)
    source = CinC(tmp_path)  # a Matlab file without header is one record that is refused, not one forgotten
    found = list(source.read_many(0, len(source)))
    assert "A0001.hea: cannot read the header" in str(found[0]) and isinstance(found[1], Record)


def test_a_matrix_of_another_kind_is_refused(tmp_path: Path, counts: np.ndarray) -> None:
    mat = write(tmp_path / "A0001", counts).with_suffix(".mat")
    for made, what in (
        (counts.astype(np.float64), "does not begin with a matrix of 16-bit numbers"),
        (counts.T, "holds 1,000 leads of 12 samples, its header names 12 of 1,000"),
        (counts[:, :900], "holds 12 leads of 900 samples, its header names 12 of 1,000"),
    ):
        savemat(mat, {"val": np.ascontiguousarray(made)}, format="4")
        assert what in reason(tmp_path)
    savemat(mat, {"value": counts}, format="4")
    assert "begin after 26 bytes, its header says 24" in reason(tmp_path)
    savemat(mat, {"val": counts}, format="5")
    assert "a newer Matlab file" in reason(tmp_path)
    with pytest.raises(ValueError, match="a newer Matlab file"):  # else noise would pass for an ECG
        WFDB(tmp_path).read(0)


def test_a_header_that_does_not_fit_is_refused(tmp_path: Path, counts: np.ndarray) -> None:
    header = write(tmp_path / "A0001", counts)
    told = header.read_text()
    lines = told.splitlines()
    header.write_text("\n".join(lines[:12]))
    assert "the first line says 12 signals, the lines below are 11" in reason(tmp_path)
    header.write_text("\n".join(["A0001 11 500 1000", *lines[1:12]]))
    assert "holds 12 leads of 1,000 samples, its header names 11 of 1,000" in reason(tmp_path)
    header.write_text(told.replace("16+24", "16"))
    assert "begin after 24 bytes, its header says 0" in reason(tmp_path)
    header.write_text(told.replace("A0001.mat", "A0001.dat"))
    assert "not in the challenges' form" in reason(tmp_path)
    header.write_text(told.replace("16+24", "212+24"))
    assert "not in the challenges' form" in reason(tmp_path)


def test_damage_is_found_by_the_checksum_unless_it_is_not_asked_for(
    tmp_path: Path, counts: np.ndarray
) -> None:
    mat = write(tmp_path / "A0001", counts).with_suffix(".mat")
    raw = bytearray(mat.read_bytes())
    raw[24 + 2 * 12 * 500 + 2] ^= 64  # of lead II
    mat.write_bytes(raw)
    assert "damaged samples, the checksum of lead II" in reason(tmp_path)
    assert "verify = false" in reason(tmp_path)
    changed = np.rint(CinC(tmp_path, verify=False).read(0).signal * 1000) != counts
    assert changed.sum() == 1 and changed[1, 500]


def test_unknown_leads_are_left_out(tmp_path: Path, counts: np.ndarray) -> None:
    write(tmp_path / "a", counts, leads=("vx", *LEADS[1:]))
    record = CinC(tmp_path).read(0)
    assert record.leads == LEADS[1:]
    np.testing.assert_array_equal(np.rint(record.signal * 1000), counts[1:])
    write(tmp_path / "a", counts, leads=[f"x{number}" for number in range(12)])
    assert "none of its leads is known: x0, x1" in reason(tmp_path)


def test_refuses_what_is_no_folder_of_records(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no \.hea file in it or below"):
        CinC(tmp_path)
    with pytest.raises(ValueError, match="is no folder"):
        CinC(tmp_path / "A0001.hea")


def test_a_set_is_imported_and_learnt_from(tmp_path: Path) -> None:
    """Long records are cut, what is broken is told, the store holds the counts of the files; a run scores."""
    random = np.random.default_rng(3)
    kinds = ("426783006", "164889003", "59118001", "164884008,429622005")
    stored = {}
    for number in range(60):
        name, seconds = f"A{number:04d}", 3 if number == 7 else 1
        stored[name] = counts_of(heartbeat(random, hertz=100, seconds=seconds))
        dx = f"Dx: {kinds[number % 4]}"
        write(tmp_path / f"cpsc/g{number % 2}/{name}", stored[name], hertz=100, comments=(dx, "Age: 60"))
    (tmp_path / "cpsc/g1/A0011.mat").unlink()
    store = import_(CinC(tmp_path / "cpsc"), tmp_path / "store", seconds=1)
    assert store.source == "cinc" and len(store) == 59 and store.facts["counts"]["rejected"] == 1
    assert store.tasks["cpsc2018"] == ("AF", "NORM", "PVC", "RBBB", "STD")
    assert store.tasks["scored"] == ("AF", "NSR", "RBBB") and "VEB" in store.tasks["snomed"]
    wanted = np.stack([stored[name][:, :100] for name in store.records["record_id"]])
    np.testing.assert_array_equal(np.rint(store.read(np.arange(59)) * 1000), wanted)
    assert store.records["patient_id"].nunique() == 59
    recipe = {
        "task": {"name": "cpsc2018"},
        "split": {"by": "patient", "shares": [0.5, 0.25, 0.25]},
        "signal": {"seconds": 0.5},
        "backbone": {"name": "resnet1d_wang", "width": 8},
        "head": {"name": "linear", "hidden": []},
        "loss": {"name": "bce"},
        "train": {"epochs": 1, "batch": 16},
        "evaluate": {"resamples": 20, "rows": ["prevalence"]},
    }
    told = json.loads((train(recipe, store.path, tmp_path / "run") / "results.json").read_text())
    assert told["task"]["labels"] == ["AF", "NORM", "PVC", "RBBB", "STD"]
    for name in ("challenge_f2", "challenge_g2"):
        assert 0 <= told["test"][name]["value"] <= 1 and set(told["test"][name]) == {"value", "low", "high"}
