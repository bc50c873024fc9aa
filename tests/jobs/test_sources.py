"""Sources of real files, on files that are made here."""

import ast
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from einthoven import parts
from einthoven.data.sheet import rate_of
from einthoven.data.sources.csv import CSV
from einthoven.data.sources.hdf5 import HDF5
from einthoven.data.sources.numpy import NumPy
from einthoven.data.sources.ptbxl import PTBXL, title
from einthoven.data.sources.wfdb import WFDB, package, row_of
from einthoven.ecg import LEADS, Record, Source

wfdb = package()
NAMES = ["I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"]
STATEMENTS = """,description,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass,Statement Category
NDT,non-diagnostic T,1.0,1.0,,STTC,STTC,other
NST_,non-specific ST,1.0,1.0,,STTC,NST_,other
DIG,digitalis,1.0,1.0,,STTC,STTC,other
LNGQT,long QT,1.0,1.0,,STTC,STTC,other
NORM,normal ECG,1.0,,,NORM,NORM,other
IMI,inferior MI,1.0,,,MI,IMI,other
ILMI,inferolateral MI,1.0,,,MI,IMI,other
LVH,left hypertrophy,1.0,,,HYP,LVH,other
PVC,ventricular premature complex,,1.0,,,,other
SR,sinus rhythm,,,1.0,,,other
AFIB,atrial fibrillation,,,1.0,,,other
"""
CODES = [
    "{'NORM': 100.0, 'SR': 0.0}",
    "{'NDT': 100.0, 'NST_': 0.0, 'DIG': 15.0, 'LNGQT': 50.0}",  # both diagnostic and form
    "{'PVC': 100.0, 'AFIB': 0.0}",  # no diagnostic one
    "{'IMI': 0.0, 'ILMI': 15.0, 'LVH': 35.0, 'SR': 0.0}",  # two of one subclass
    "{'SR': 0.0, 'NOVEL': 100.0}",  # one that the other table lacks
    "{}",
]


@pytest.fixture(scope="module")
def beat() -> np.ndarray:
    """(lead, time) in mV: something as large as an ECG."""
    time = np.arange(1000) / 100
    pulse = np.exp(-0.5 * ((time % 0.8 - 0.4) / 0.02) ** 2)
    return (np.linspace(0.5, 1.6, 12)[:, None] * pulse + 0.01 * np.cos(time)).astype(np.float32)


def write_wfdb(path: Path, ecg: np.ndarray, *, hertz: int = 100, comments: tuple[str, ...] = ()) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{path.name} {len(ecg)} {hertz} {ecg.shape[1]}"]
    lines += [f"{path.name}.dat 16 1000.0(0)/mV 16 0 0 0 0 {name}" for name in NAMES[: len(ecg)]]
    path.with_name(f"{path.name}.hea").write_text("\n".join([*lines, *(f"#{c}" for c in comments)]) + "\n")
    np.rint(ecg.T * 1000).astype("<i2").tofile(path.with_name(f"{path.name}.dat"))


def make_ptbxl(folder: Path, beat: np.ndarray, cells: list[str], **columns: list[Any]) -> Path:
    number = range(1, len(cells) + 1)
    table = pd.DataFrame(
        {
            "ecg_id": number,
            "patient_id": [float(15_000 + i // 2) for i in number],
            "age": [56.0, 300.0, None, *[40.0] * (len(cells) - 3)],
            "sex": [i % 2 for i in number],
            "site": [0.0, None, *[2.0] * (len(cells) - 2)],
            "device": "CS-12   E",
            "report": ["sinusrhythmus", None, *["st-t"] * (len(cells) - 2)],
            "scp_codes": cells,
            "validated_by_human": [True, *[False] * (len(cells) - 1)],
            "strat_fold": [1 + i % 10 for i in number],
            "filename_lr": [f"records100/00000/{i:05d}_lr" for i in number],
            "filename_hr": [f"records500/00000/{i:05d}_hr" for i in number],
        }
        | columns
    )
    folder.mkdir(exist_ok=True)
    table.to_csv(folder / "ptbxl_database.csv", index=False)
    (folder / "scp_statements.csv").write_text(STATEMENTS)
    for i, name in enumerate(table["filename_lr"]):
        write_wfdb(folder / name, beat * (1 + i / 10))
    return folder


def records(source: Source) -> list[Record]:
    return [source.read(index) for index in range(len(source))]


def one_line(caught: pytest.ExceptionInfo[ValueError]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    return text


def slow_labels(folder: Path) -> Iterator[dict[str, list[str]]]:  # noqa: C901 - slow and plain on purpose
    """The benchmark's rules, word by word."""
    statements = pd.read_csv(folder / "scp_statements.csv", index_col=0)
    for cell in pd.read_csv(folder / "ptbxl_database.csv")["scp_codes"]:
        found: dict[str, set[str]] = {
            t: set() for t in ("all", "diag", "subdiag", "superdiag", "form", "rhythm")
        }
        for code in ast.literal_eval(cell):
            found["all"].add(code)
            if code not in statements.index:
                continue
            statement = statements.loc[code]
            if statement["diagnostic"] == 1:
                found["diag"].add(code)
                for task, column in (("subdiag", "diagnostic_subclass"), ("superdiag", "diagnostic_class")):
                    if isinstance(statement[column], str):
                        found[task].add(statement[column])
            for task in ("form", "rhythm"):
                if statement[task] == 1:
                    found[task].add(code)
        yield {task: sorted(labels) for task, labels in found.items()}


def test_ptbxl_labels_follow_the_benchmark(tmp_path: Path, beat: np.ndarray) -> None:
    source = PTBXL(make_ptbxl(tmp_path, beat, CODES))
    expected = list(slow_labels(tmp_path))
    for record, labels in zip(records(source), expected, strict=True):
        assert {task: record.row[task] for task in labels} == labels
    assert expected[1]["diag"] == expected[1]["form"] == ["DIG", "LNGQT", "NDT", "NST_"]
    assert expected[1]["superdiag"] == ["STTC"] and expected[2]["superdiag"] == []


def test_ptbxl_reads_who_and_what(tmp_path: Path, beat: np.ndarray) -> None:
    body = {"height": [170.0, *[None] * 5], "weight": [None, 63.5, *[None] * 4]}
    source = PTBXL(make_ptbxl(tmp_path, beat, CODES, **body, pacemaker=["ja, pacemaker", *[None] * 5]))
    first, second, third, *_ = records(pickle.loads(pickle.dumps(source)))
    assert (first.row["height"], second.row["weight"]) == (170, 63.5) and np.isnan(first.row["weight"])
    assert (first.row["pacemaker"], second.row["pacemaker"]) == ("ja, pacemaker", "")
    assert (first.record_id, first.patient_id, first.hertz, first.leads) == ("1", "15000", 100, LEADS)
    np.testing.assert_allclose(first.signal, beat, atol=6e-4)
    assert first.signal.dtype == np.float32 and first.signal.shape == (12, 1000)
    assert first.row["age"] == 56 and second.row["age"] == 90 and np.isnan(third.row["age"])
    assert (first.row["sex"], second.row["sex"], first.row["fold"]) == ("female", "male", 2)
    assert (first.row["report"], second.row["report"]) == ("sinusrhythmus", "")
    assert (first.row["site"], second.row["site"], first.row["validated"]) == ("0", "", True)
    assert source.label(0) == "records100/00000/00001_lr" and source.title == "PTB-XL subset of 6 records"
    assert [title(n) for n in (21_837, 21_801, 21_799)] == ["PTB-XL 1.0.1", "PTB-XL 1.0.2", "PTB-XL 1.0.3"]


def test_ptbxl_rejects_single_records_with_a_reason(tmp_path: Path, beat: np.ndarray) -> None:
    cells = [*CODES, "{'NORM': ", "__import__('os').abort()", "[1, 2]", "{1: 2.0}", "", "(" * 5000]
    ids = [*[1.0] * 5, None, *[2.0] * (len(cells) - 6)]
    folder = make_ptbxl(tmp_path, beat, cells, patient_id=ids)
    (folder / "records100/00000/00001_lr.hea").unlink()
    data = folder / "records100/00000/00002_lr.dat"
    data.write_bytes(data.read_bytes()[:-2])
    found = list(PTBXL(folder).read_many(0, len(cells)))
    reasons = {i: str(reason) for i, reason in enumerate(found) if isinstance(reason, ValueError)}
    assert "00001_lr.hea: cannot read the header" in reasons.pop(0)
    assert "00002_lr.dat: cut short, it holds 999 of the 1,000 samples" in reasons.pop(1)
    assert reasons.pop(5) == "ptbxl_database.csv, ecg_id 6: it has no patient_id."
    assert sorted(reasons) == [6, 7, 8, 9, 10, 11]
    assert all("scp_codes is no dictionary of statements" in text for text in reasons.values())
    assert not any("\n" in text for text in reasons.values())


def test_ptbxl_says_when_the_rate_is_missing(tmp_path: Path, beat: np.ndarray) -> None:
    folder = make_ptbxl(tmp_path, beat, CODES)
    write_wfdb(folder / "records500/00000/00001_hr", beat, hertz=500)
    with pytest.raises(
        ValueError, match=r"records500 holds 1 of 6 records in .*; import at --hertz 100, or down"
    ):
        PTBXL(folder, hertz=500)
    for i in (2, 3):
        write_wfdb(folder / f"records500/00000/0000{i}_hr", beat, hertz=500)
    source = PTBXL(folder, hertz=250)  # half of them are there
    found = list(source.read_many(0, 6))
    assert [isinstance(record, Record) and record.hertz for record in found] == [500] * 3 + [False] * 3


def test_ptbxl_refuses_another_folder(tmp_path: Path, beat: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"no ptbxl_database\.csv.*einthoven download ptbxl") as caught:
        PTBXL(tmp_path)
    assert str(tmp_path) in one_line(caught)
    folder = make_ptbxl(tmp_path / "inner", beat, CODES)
    with pytest.raises(ValueError, match=r"Did you mean .*inner"):
        PTBXL(tmp_path)
    table = pd.read_csv(folder / "ptbxl_database.csv")
    table.drop(columns="scp_codes").to_csv(folder / "ptbxl_database.csv", index=False)
    with pytest.raises(ValueError, match="has no column 'scp_codes'; found: ecg_id"):
        PTBXL(folder)
    table[:0].to_csv(folder / "ptbxl_database.csv", index=False)
    with pytest.raises(ValueError, match="lists no record"):
        PTBXL(folder)


@pytest.mark.data
def test_ptbxl_labels_of_the_real_tables(data: Path) -> None:
    source = PTBXL(data)
    kept = {"all": 71, "diag": 44, "subdiag": 23, "superdiag": 5, "form": 19, "rhythm": 12}
    seen: dict[str, set[str]] = {task: set() for task in kept}
    expected = slow_labels(data)
    for record, labels in zip(source.read_many(0, len(source)), expected, strict=True):
        assert isinstance(record, Record) and {task: record.row[task] for task in labels} == labels
        for task, names in labels.items():
            seen[task].update(names)
    assert all(len(seen[task]) <= most for task, most in kept.items()) and len(seen["superdiag"]) == 5
    if len(source) >= 21_799:
        assert {task: len(names) for task, names in seen.items()} == kept


def test_wfdb_finds_records_below_and_their_comments(tmp_path: Path, beat: np.ndarray) -> None:
    write_wfdb(tmp_path / "b/2", beat, comments=("Age: 63", " Sex: Female", "Dx: 426783006,164889003"))
    write_wfdb(tmp_path / "a/1", beat[:3], hertz=250, comments=("<age>: NaN", "<subject_id>: 77"))
    source = WFDB(tmp_path)
    first, second = records(pickle.loads(pickle.dumps(source)))
    assert (source.label(0), first.record_id, first.patient_id, second.patient_id) == ("a/1", "1", "77", "2")
    assert (first.leads, first.hertz, first.signal.shape) == (("I", "II", "III"), 250, (3, 1000))
    assert second.row == {"age": 63.0, "sex": "female", "statements": ["164889003", "426783006"]}
    assert np.isnan(first.row["age"]) and first.row["statements"] == []


def test_wfdb_ids_are_paths_where_names_repeat(tmp_path: Path, beat: np.ndarray) -> None:
    for name in ("a/1", "b/1"):
        write_wfdb(tmp_path / name, beat)
    assert [record.record_id for record in records(WFDB(tmp_path))] == ["a/1", "b/1"]


def test_wfdb_honours_lists_of_records(tmp_path: Path, beat: np.ndarray) -> None:
    for name in ("a/1", "a/2", "b/3"):
        write_wfdb(tmp_path / name, beat)
    (tmp_path / "RECORDS").write_text("a/\nb/3\n")
    (tmp_path / "a/RECORDS").write_text("2\nnone\n")
    source = WFDB(tmp_path)
    assert [source.label(i) for i in range(len(source))] == ["a/2", "a/none", "b/3"]
    with pytest.raises(ValueError, match=r"none\.hea: cannot read the header \(No such file"):
        source.read(1)
    (tmp_path / "RECORDS").write_text("../x\n")
    with pytest.raises(ValueError, match="leads out of the folder"):
        WFDB(tmp_path)


def test_wfdb_takes_one_record(tmp_path: Path, beat: np.ndarray) -> None:
    write_wfdb(tmp_path / "x", beat)
    for name in ("x", "x.hea", "x.dat"):
        assert WFDB(tmp_path / name).read(0).record_id == "x"
    with pytest.raises(ValueError, match=r"no header y\.hea"):
        WFDB(tmp_path / "y.dat")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no \.hea file"):
        WFDB(tmp_path / "empty")


def test_wfdb_comments_as_physionet_and_ludb_write_them() -> None:
    assert row_of(["<age>: 69 <sex>: M <diagnoses>: (none) <medications>: Aldomet"]) == (
        "",
        {"age": 69.0, "sex": "male", "statements": []},
    )
    lines = ["<age>: 57", "<sex>: F", "<diagnoses>:", "Rhythm: AF.", "Scar, old: septal. ", "<subject_id>: 9"]
    row = {"age": 57.0, "sex": "female", "statements": ["Rhythm: AF", "Scar, old: septal"]}
    assert row_of(lines) == ("9", row)
    assert row_of(["69 M 1085 1629 x1"])[1]["sex"] is None


@pytest.mark.filterwarnings("ignore:The inplace keyword")
@pytest.mark.parametrize("formats", [["212"], ["80"], ["16", "24"], ["24"], ["32"]])
def test_wfdb_reads_other_formats_by_the_package(
    tmp_path: Path, beat: np.ndarray, formats: list[str]
) -> None:
    fmt = [formats[0]] * 6 + [formats[-1]] * 6
    gain = [100.0 if formats == ["80"] else 1000.0] * 12
    kwargs = {
        "p_signal": beat.T.astype(float).clip(-1.2, 1.2),
        "fmt": fmt,
        "adc_gain": gain,
        "baseline": [0] * 12,
    }
    wfdb.wrsamp("r", 100, ["mV"] * 12, NAMES, write_dir=str(tmp_path), **kwargs)
    oracle = wfdb.rdsamp(str(tmp_path / "r"))[0].T
    signals = (tmp_path / "r.hea").read_text().splitlines()[1:]
    assert len({line.split()[0] for line in signals}) == len(formats)  # two formats go to two files
    record = WFDB(tmp_path).read(0)
    assert (record.leads, record.hertz) == (LEADS, 100)
    np.testing.assert_allclose(record.signal, oracle, atol=1e-6)


def test_wfdb_says_what_it_cannot_read(tmp_path: Path, beat: np.ndarray) -> None:
    write_wfdb(tmp_path / "short", beat)
    header = tmp_path / "short.hea"
    header.write_text(header.read_text().replace(" 16 1000", " 212 1000").replace("100 1000", "100 9000"))
    write_wfdb(tmp_path / "gone", beat)
    (tmp_path / "gone.hea").write_text((tmp_path / "gone.hea").read_text().replace(" 16 1000", " 80 1000"))
    (tmp_path / "gone.dat").unlink()
    write_wfdb(tmp_path / "rates", beat[:2])
    text = (tmp_path / "rates.hea").read_text().replace(" 100 1000", " 50 500")
    (tmp_path / "rates.hea").write_text(text.replace(" 16 1000", " 16x3 1000", 1))
    (tmp_path / "several.hea").write_text("several/2 12 100 2000\ngone 1000\nshort 1000\n")
    write_wfdb(tmp_path / "text", beat)
    (tmp_path / "text.hea").write_text((tmp_path / "text.hea").read_text().replace(" 16 1000", " 8 1000"))
    (tmp_path / "text.dat").write_text("I II V1\n" * 999)
    source = WFDB(tmp_path)
    reasons = {source.label(i): str(r) for i, r in enumerate(source.read_many(0, len(source)))}
    assert "gone.dat: cannot read the signals (No such file" in reasons["gone"]
    assert "different rates (50, 150 Hz)" in reasons["rates"]
    assert "made of 2 segments" in reasons["several"]
    assert "short.hea: wfdb cannot read its signals" in reasons["short"]
    assert "text.dat: holds text" in reasons["text"]
    assert not any("\n" in reason for reason in reasons.values())


def write_csv(
    path: Path, ecg: np.ndarray, header: str, *, first: np.ndarray | None = None, by: str = ","
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = ecg.T if first is None else np.column_stack([first, ecg.T])
    text = "\n".join(by.join(f"{cell:.7g}" for cell in line) for line in table)
    path.write_text(f"{header}\n{text}\n" if header else f"{text}\n")


TWELVE = ",".join(NAMES)


@pytest.mark.parametrize(
    ("header", "scale", "first", "options"),
    [
        (TWELVE, 1, None, {"hertz": 100}),
        (TWELVE, 1000, None, {"hertz": 100, "units": "uV"}),
        (TWELVE, 1000, None, {"hertz": 100, "units": "auto"}),
        (TWELVE, 1e-3, None, {"hertz": 100, "units": "auto"}),
        (TWELVE, 205, None, {"hertz": 100, "units": 1 / 205}),
        (",".join(f"{n} (uV)" for n in NAMES), 1000, None, {"hertz": 100}),
        ("," + TWELVE, 1, np.arange(1000), {"hertz": 100}),
        ("time," + TWELVE, 1, np.arange(1000) / 100, {}),
        ("Time [ms]," + TWELVE, 1, np.arange(1000) * 10, {"hertz": 100}),
        ("", 1, None, {"hertz": 100, "leads": LEADS}),
    ],
)
def test_csv_reads_every_honest_form(
    tmp_path: Path,
    beat: np.ndarray,
    header: str,
    scale: float,
    first: np.ndarray | None,
    options: dict[str, Any],
) -> None:
    write_csv(tmp_path / "x/1.csv", beat * np.float32(scale), header, first=first)
    source = pickle.loads(pickle.dumps(CSV(tmp_path, **options)))
    record = source.read(0)
    assert (record.record_id, record.patient_id, record.leads, record.hertz) == ("x/1", "x/1", LEADS, 100)
    np.testing.assert_allclose(record.signal, beat, rtol=1e-5, atol=1e-6)
    assert CSV(tmp_path / "x/1.csv", **options).read(0).record_id == "1"


def test_csv_reads_semicolons_decimal_commas_and_gaps(tmp_path: Path, beat: np.ndarray) -> None:
    write_csv(tmp_path / "1.csv", beat[:2, :50], "V1;Lead II", by=";")
    lines = (tmp_path / "1.csv").read_text().replace(".", ",").splitlines()
    lines[3] = ";" + lines[3].partition(";")[2]
    (tmp_path / "1.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    record = CSV(tmp_path, hertz=100, units="mV").read(0)
    expected = beat[:2, :50].copy()
    expected[0, 2] = np.nan
    assert record.leads == ("V1", "II")
    np.testing.assert_allclose(record.signal, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "options", "reason"),
    [
        ("age,sex\n1,2\n", {"hertz": 9}, "names no ECG lead: age, sex"),
        ("I,Lead I\n1,2\n", {"hertz": 9}, "lead I stands in it twice"),
        ("I,II\n1,2\n3,x\n", {"hertz": 9}, "row 2 of column II: 'x' is no number"),
        ("I,II\n1,2\n3,4\n", {}, "no column of times: say its rate with hertz="),
        ("I\n1;2\n3;4\n", {"hertz": 9}, "row 1 of column I: '1;2' is no number"),
        ("t,I\n0,2\n2,4\n4,4\n", {}, "gives 0.5 Hz; is it in seconds?"),
        ("t,I\n0,2\n0.01,4\n0.9,4\n", {}, "not evenly spaced"),
        ("t (min),I\n0,2\n0.01,4\n", {}, "times in 'min', not in s, ms or us"),
        ("t,I\n0,2\n,4\n", {}, "gaps in its column of times"),
        ("t,I\n0,2\n0.01,4\n0.02,4\n", {"hertz": 500}, "gives 100 Hz, not hertz=500"),
        ("I (mmHg),II\n1,2\n", {"hertz": 9}, "'mmHg', which is no unit"),
        ("I (uV),II (mV)\n1,2\n", {"hertz": 9}, "different units"),
        ("I (uV)\n1\n", {"hertz": 9, "units": "mV"}, "another unit than units="),
        ("1,2,3\n", {"hertz": 9, "leads": ("I", "II")}, "3 columns where `leads` names 2"),
        ("", {"hertz": 9}, "it is empty"),
        ("\0\0\0\n", {"hertz": 9}, "binary data"),
        ("I,II\n0,50\n90,70\n", {"hertz": 9}, "for sure in none of V, mV, uV; say units="),
        ("I,II\n0,1\n", {"hertz": 9, "units": "furlong"}, "units 'furlong' is not mV"),
    ],
)
def test_csv_refuses_rather_than_guesses(
    tmp_path: Path, text: str, options: dict[str, Any], reason: str
) -> None:
    (tmp_path / "1.csv").write_text(text)
    with pytest.raises(ValueError) as caught:
        CSV(tmp_path, **options).read(0)
    assert reason in one_line(caught)


def test_csv_takes_what_a_table_lists(tmp_path: Path, beat: np.ndarray) -> None:
    for name in ("p", "q"):
        write_csv(tmp_path / f"{name}.csv", beat, TWELVE)
    rows = "File,record_id,patient_id,Age,sex,fold,pcwp\nq.csv,007,0012,55,F,,18.5\np.csv,,,,,3,\n"
    (tmp_path / "table.csv").write_text(rows)
    first, second = records(CSV(tmp_path, hertz=100, table="table.csv"))
    assert (first.record_id, first.patient_id, second.record_id, second.patient_id) == (
        "007",
        "0012",
        "p",
        "p",
    )
    assert first.row == {"age": 55.0, "sex": "female", "fold": None, "report": "", "pcwp": 18.5}
    assert second.row["age"] is None and second.row["fold"] == 3 and second.row["pcwp"] is None
    (tmp_path / "table.csv").write_text("path,age\np.csv,old\n")
    with pytest.raises(ValueError, match=r"table\.csv, line 2: age is a number of years, got 'old'"):
        CSV(tmp_path, hertz=100, table="table.csv").read(0)
    (tmp_path / "table.csv").write_text("name,sex\np.csv,f\n")
    with pytest.raises(ValueError, match="no column path or file or filename; found: name, sex"):
        CSV(tmp_path, hertz=100, table="table.csv")


def test_one_quiet_file_does_not_get_a_unit_of_its_own(tmp_path: Path, beat: np.ndarray) -> None:
    for name, scale in (("a", 1), ("b", 0.01), ("c", 1)):
        write_csv(tmp_path / f"{name}.csv", beat * np.float32(scale), TWELVE)
    quiet = CSV(tmp_path, hertz=100).read(1)
    np.testing.assert_allclose(quiet.signal, beat * 0.01, rtol=1e-4, atol=1e-6)


def test_rate_of_rounded_times() -> None:
    for hertz in (100, 360, 500, 257.03):
        assert rate_of(np.round(np.arange(5000) / hertz, 3)) == pytest.approx(hertz, rel=1e-3)
    assert rate_of(np.round(np.arange(5000) / 360, 3)) == 360


@pytest.mark.parametrize("order", ["record lead time", "record time lead"])
@pytest.mark.parametrize("file", ["x.npy", "x.npz", "packed.npz"])
def test_numpy_reads_both_orders(tmp_path: Path, beat: np.ndarray, order: str, file: str) -> None:
    stack = np.stack([beat, 2 * beat, np.where(beat > 1, np.nan, beat)])
    given = stack if order == "record lead time" else stack.transpose(0, 2, 1)
    save = {"x.npy": np.save, "x.npz": lambda p, x: np.savez(p, ecg=x), "packed.npz": np.savez_compressed}[
        file
    ]
    save(tmp_path / file, given)
    source = pickle.loads(pickle.dumps(NumPy(tmp_path / file, hertz=100)))
    assert len(pickle.dumps(source)) < 5000
    for record, expected in zip(records(source), stack, strict=True):
        np.testing.assert_array_equal(record.signal, expected)
        assert record.signal.dtype == np.float32 and record.leads == LEADS
    assert [record.record_id for record in records(source)] == ["0", "1", "2"]


def test_numpy_converts_units_leads_and_types(tmp_path: Path, beat: np.ndarray) -> None:
    counts = np.rint(np.stack([beat[[1, 0]]] * 2) * 1000).astype(">i2")
    np.save(tmp_path / "x.npy", counts)
    for units in ("uV", "auto", 1e-3):
        record = NumPy(tmp_path / "x.npy", hertz=250, leads=("lead ii", "DI", "I")[::2], units=units).read(1)
        assert record.leads == ("II", "I") and record.hertz == 250
        np.testing.assert_allclose(record.signal, beat[[1, 0]], atol=6e-4)


def test_numpy_reads_a_folder_with_a_table(tmp_path: Path, beat: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", beat)
    np.save(tmp_path / "b.npy", np.stack([beat.T] * 2))
    plain = NumPy(tmp_path, hertz=100)
    assert [record.record_id for record in records(plain)] == ["a", "b[0]", "b[1]"]
    rows = "record_id,patient_id,age,sex,label\nr1,p1,50,male,x\nr2,p1,,F,y\nr3,p2,70,m,\n"
    (tmp_path / "who.csv").write_text(rows)
    first, second, third = records(NumPy(tmp_path, hertz=100, table="who.csv"))
    assert (first.record_id, first.patient_id, third.patient_id) == ("r1", "p1", "p2")
    assert (second.row["sex"], third.row["label"]) == ("female", None)
    (tmp_path / "who.csv").write_text(rows + "r4,p4,1,f,z\n")
    with pytest.raises(ValueError, match="4 lines for 3 records"):
        NumPy(tmp_path, hertz=100, table="who.csv")


def test_numpy_refuses_rather_than_guesses(tmp_path: Path, beat: np.ndarray) -> None:
    def refused(array: np.ndarray, **options: Any) -> str:
        np.save(tmp_path / "x.npy", array)
        mapped.cache_clear()
        with pytest.raises(ValueError) as caught:
            NumPy(tmp_path / "x.npy", **({"hertz": 100} | options))
        return one_line(caught)

    from einthoven.data.sources.numpy import mapped

    assert "does not say which of its axes of 12 is time" in refused(np.ones((5, 12, 12)))
    assert "shape (5, 8, 100) has no axis of 12 leads" in refused(np.ones((5, 8, 100)))
    assert "an array of shape (12,)" in refused(np.ones(12))
    assert "holds no array of numbers" in refused(np.array(["a", "b"]))
    assert "not a readable NumPy array" in refused(np.array([{}, None]))
    assert "above 0" in refused(beat, hertz=0)
    assert "leads: none of its leads is known: a, b" in refused(beat, leads=("a", "b"))
    assert "for sure in none" in refused(beat * 50)
    (tmp_path / "y.npy").write_text("no array")
    with pytest.raises(ValueError, match=r"y\.npy: not a readable NumPy array"):
        NumPy(tmp_path / "y.npy", hertz=100)
    np.savez(tmp_path / "z.npz", a=beat, b=beat)
    with pytest.raises(ValueError, match="say which with array=; it has a, b"):
        NumPy(tmp_path / "z.npz", hertz=100)
    assert len(NumPy(tmp_path / "z.npz", hertz=100, array="b")) == 1
    with pytest.raises(ValueError, match="cannot be read"):
        NumPy(tmp_path / "none.npy", hertz=100)


EXAMS = """exam_id,age,is_male,nn_predicted_age,1dAVb,RBBB,LBBB,SB,ST,AF,patient_id,normal_ecg,trace_file
30,61,True,60,True,False,False,False,False,True,900,False,exams_part0.hdf5
10,38,False,40,False,False,False,False,False,False,901,True,exams_part0.hdf5
"""


@pytest.fixture
def code15(tmp_path: Path, beat: np.ndarray) -> Path:
    tracings = np.zeros((20, 4096, 12), np.float32)
    tracings[0, 48:4048] = np.tile(beat.T, (4, 1))
    tracings[1, 648:3448] = np.tile(beat.T, (3, 1))[:2800]
    tracings[1, 700:710, 3] = 0  # zeros inside stay
    tracings[2, 5] = 1
    with h5py.File(tmp_path / "exams_part0.hdf5", "w") as file:
        file["tracings"], file["exam_id"] = tracings, np.array([10, 30, 55, *[0] * 17])
    (tmp_path / "exams.csv").write_text(EXAMS)
    return tmp_path


def test_hdf5_reads_code15(code15: Path, beat: np.ndarray) -> None:
    source = pickle.loads(pickle.dumps(HDF5(code15)))
    first, second = source.read(0), source.read(1)
    assert (first.record_id, first.patient_id, first.hertz) == ("10", "901", 400)
    assert first.row == {"age": 38.0, "sex": "female", "statements": [], "normal_ecg": True}
    assert second.row == {"age": 61.0, "sex": "male", "statements": ["1dAVb", "AF"], "normal_ecg": False}
    assert (first.signal.shape, second.signal.shape) == ((12, 4000), (12, 2800))
    np.testing.assert_array_equal(first.signal, np.tile(beat, 4))
    assert (second.signal[3, 52:62] == 0).all() and source.title == "CODE-15"
    with pytest.raises(ValueError, match=r"exams\.csv has no exam_id 55"):
        source.read(2)
    with pytest.raises(ValueError, match="has no exam_id 0"):
        source.read(19)
    (code15 / "exams.csv").write_text(EXAMS + "0,1,True,1,0,0,0,0,0,0,1,False,x\n")
    with pytest.raises(ValueError, match="holds nothing but zeros"):
        HDF5(code15).read(19)
    (code15 / "exams.csv").unlink()
    with pytest.raises(
        ValueError, match="patients and labels are in it; for files in another layout say hertz="
    ):
        HDF5(code15)


def test_hdf5_reads_what_is_named(tmp_path: Path, beat: np.ndarray) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["waves/ecg"] = np.stack([beat * k for k in range(1, 41)]) * 50
        file["meta/id"] = [f"rec{k}" for k in range(40)]
        for name in ("p", "q"):
            file[f"records/{name}/ecg"] = beat.T
    source = HDF5(tmp_path, signals="waves/ecg", ids="meta/id", hertz=100)
    assert (len(source), source.read(39).record_id) == (40, "rec39")
    for k in (0, 15, 16, 39, 3):  # across the blocks that are read at once, and back
        np.testing.assert_allclose(source.read(k).signal, beat * (k + 1) / 20, rtol=1e-5)
    assert HDF5(tmp_path, signals="waves/ecg", hertz=100).read(7).record_id == "7"
    each = HDF5(tmp_path, signals="records/{id}/ecg", hertz=250, units="mV")
    assert [record.record_id for record in records(each)] == ["p", "q"]
    np.testing.assert_array_equal(each.read(1).signal, beat)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"signals": "waves"}, "hertz is the rate of the files and has to be said"),
        ({"signals": "wave", "hertz": 100}, "has no 'wave'; found: few, group, group/x, waves"),
        ({"signals": "group", "hertz": 100}, "'group' is no array"),
        ({"signals": "waves", "ids": "few", "hertz": 100}, "few has 2 entries for 3 records"),
        ({"signals": "waves", "hertz": 100, "leads": ("I", "II")}, "no axis of 2 leads"),
    ],
)
def test_hdf5_refuses_rather_than_guesses(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["waves"], file["few"], file["group/x"] = np.ones((3, 12, 50)), np.arange(2), 1
    with pytest.raises(ValueError) as caught:
        HDF5(tmp_path / "x.h5", **options)
    assert reason in one_line(caught)


def test_hdf5_refuses_another_file(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_text("text")
    with pytest.raises(ValueError, match=r"x\.h5: not a readable HDF5 file"):
        HDF5(tmp_path / "x.h5", hertz=100)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no \.hdf5 or \.h5 file"):
        HDF5(tmp_path / "empty")


def test_wfdb_sex_and_age_only_as_they_are_said() -> None:
    def said(**comments: str) -> tuple[str | None, float]:
        row = row_of([f"{key}: {value}" for key, value in comments.items()])[1]
        return row["sex"], row["age"]

    assert [
        said(Sex=word)[0] for word in ("Missing", "W", "weiblich", "f", "m", "Male", "Frau", "x", "")
    ] == [*[None, "female", "female", "female", "male", "male", "female", None, None]]
    for age in ("6M", "11 months", "3 days", "6 W", "NaN", ""):
        assert np.isnan(said(Age=age)[1]), age
    assert [said(Age=age)[1] for age in ("63", "63.5", "063Y", "63 years", "63 yr.")] == [63, 63.5, *[63] * 3]


def test_wfdb_other_formats_that_promise_too_much_are_one_reason(tmp_path: Path, beat: np.ndarray) -> None:
    for samples in (10**13, 10**30):
        write_wfdb(tmp_path / "r", beat)
        text = (tmp_path / "r.hea").read_text().replace(" 16 1000", " 212 1000")
        (tmp_path / "r.hea").write_text(text.replace("100 1000", f"100 {samples}", 1))
        with pytest.raises(ValueError, match=r"r\.dat: cut short, its header names"):
            WFDB(tmp_path).read(0)


@pytest.mark.parametrize(
    ("text", "leads"),
    [
        ("I;II\n0,5;0,25\n1,5;2,5\n", ()),
        ("sep=;\nI;II\n0,5;0,25\n1,5;2,5\n", ()),
        ("0,5;0,25\n1,5;2,5\n", ("I", "II")),  # more commas than semicolons
        ("0,5\t0,25\n1,5\t2,5\n", "I,II"),
        ("sep=,\nI,II\n0.5,0.25\n1.5,2.5\n", ()),
    ],
)
def test_csv_knows_a_decimal_comma_from_a_separator(
    tmp_path: Path, text: str, leads: tuple[str, ...] | str
) -> None:
    (tmp_path / "1.csv").write_text(text)
    record = CSV(tmp_path, hertz=100, units="mV", leads=leads).read(0)
    assert record.leads == ("I", "II")
    np.testing.assert_array_equal(record.signal, np.array([[0.5, 1.5], [0.25, 2.5]], np.float32))


def test_csv_of_one_lead_keeps_its_time(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("V1\n\n1\n\n\n0,5\n\n\n")
    signal = CSV(tmp_path, hertz=100, units="mV").read(0).signal
    np.testing.assert_array_equal(signal, np.array([[np.nan, 1, np.nan, np.nan, 0.5]], np.float32))
    (tmp_path / "1.csv").write_text("V1,I\n1,2\n\n3,4\n")  # no sample: that would be a line of commas
    assert CSV(tmp_path, hertz=100, units="mV").read(0).signal.shape == (2, 2)


def test_csv_table_with_paths_of_windows(tmp_path: Path, beat: np.ndarray) -> None:
    write_csv(tmp_path / "a/b.csv", beat, TWELVE)
    (tmp_path / "table.csv").write_text("path;record_id\na\\b.csv;7\n")
    assert CSV(tmp_path, hertz=100, table="table.csv").read(0).record_id == "7"


def test_csv_table_names_the_lines_of_its_file(tmp_path: Path, beat: np.ndarray) -> None:
    write_csv(tmp_path / "p.csv", beat, TWELVE)
    rows = ["sep=;", "path;age;report", 'p.csv;60;"two', 'lines"', "", "p.csv;60", "p.csv;old;x"]
    (tmp_path / "table.csv").write_text("\n".join(rows))
    source = CSV(tmp_path, hertz=100, table="table.csv")
    assert [source.read(n).row["report"] for n in range(2)] == ["two\nlines", ""]
    with pytest.raises(ValueError, match=r"table\.csv, line 7: age is a number of years"):
        source.read(2)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('path,x\np.csv,1\np.csv,"2\np.csv,3\n', "the quote that opens in line 3 is never closed"),
        ("path,x\np.csv,1\n\np.csv,2,3\n", "line 4: 3 cells where the first line names 2"),
        ("path,x,x\np.csv,1,2\n", "has column 'x' twice: keep one"),
        ("\n \n", "it is empty"),
    ],
)
def test_csv_tables_that_are_none(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(ValueError) as caught:
        CSV(tmp_path, hertz=100, table="table.csv")
    assert reason in one_line(caught)


def test_leads_may_come_from_the_command_line(tmp_path: Path, beat: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", beat[:2])
    table = {"name": "numpy", "hertz": 100, "leads": "I,II"}
    assert parts.build("sources", table, path=tmp_path / "x.npy").read(0).leads == ("I", "II")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["ecg"] = beat[None, :2]
    source = HDF5(tmp_path / "x.h5", signals="ecg", hertz=100, leads="II, I")
    assert source.read(0).leads == ("II", "I")


@pytest.mark.parametrize("ids", [np.array([[b"a"], [b"b"]]), np.array([["a"], ["b"]], object), [[7], [8]]])
def test_hdf5_ids_in_a_column(tmp_path: Path, beat: np.ndarray, ids: Any) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["ecg"], file["id"] = np.stack([beat, beat]), ids
    names = [record.record_id for record in records(HDF5(tmp_path, signals="ecg", ids="id", hertz=100))]
    assert names == (["7", "8"] if isinstance(ids, list) else ["a", "b"])


def test_code15_sex_that_is_not_said(code15: Path) -> None:
    (code15 / "exams.csv").write_text(EXAMS.replace("10,38,False", "10,38,"))
    source = HDF5(code15)
    assert (source.read(0).row["sex"], source.read(1).row["sex"]) == (None, "male")


def test_ptbxl_tables_from_a_spreadsheet(tmp_path: Path, beat: np.ndarray) -> None:
    folder = make_ptbxl(tmp_path, beat, CODES, validated_by_human=["TRUE", "true", *["FALSE"] * 4])
    for name in ("ptbxl_database.csv", "scp_statements.csv"):
        (folder / name).write_bytes(b"\xef\xbb\xbf" + (folder / name).read_bytes())
    first, second, third, *_ = records(PTBXL(folder))
    assert [record.row["validated"] for record in (first, second, third)] == [True, True, False]


def test_numpy_a_damaged_archive_is_one_reason(tmp_path: Path, beat: np.ndarray) -> None:
    np.savez_compressed(tmp_path / "x.npz", ecg=beat)
    raw = bytearray((tmp_path / "x.npz").read_bytes())
    raw[80:120] = b"\xff" * 40
    (tmp_path / "x.npz").write_bytes(raw)
    with pytest.raises(ValueError, match=r"x\.npz: not a readable NumPy array"):
        NumPy(tmp_path / "x.npz", hertz=100)


def test_every_file_exports_its_source() -> None:
    for name, source in {"ptbxl": PTBXL, "wfdb": WFDB, "csv": CSV, "numpy": NumPy, "hdf5": HDF5}.items():
        assert parts.find("sources", name) is source
