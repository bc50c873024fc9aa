"""Tables of catheterisations and their waveforms, made here: what is read, is unknown, is refused."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cohorts import heartbeat
from einthoven import recipe
from einthoven.data.importing import import_
from einthoven.data.opening import make_source
from einthoven.data.sources.catheter import Catheter
from einthoven.data.sources.synthetic import Synthetic
from einthoven.data.split import Rule, divide
from einthoven.data.store import Store
from einthoven.data.task import find_task
from einthoven.ecg import LEADS, Record
from einthoven.plan import plan
from einthoven.show import options_of

HEAD = "QuantaID,Date_of_Cath,Age_at_Cath,Sex,PAP_sys,PAP_dia,PAP_mean,PCWP_sys,PCWP_dia,PCWP_mean,"
HEAD += "CO,PVR,Admit_Diag"
LINES = [
    "0012,2012-03-04,63,True,40,20,27,22,14,18,5.1,1.8,dyspnoea",
    "0012,2013-01-09,64,True,51,25,33,30,20,24.5,4.2,2,",
    "1E5,2012-03-04,57.5,False,25,10,15,12,7,9,5.5,1.1,murmur",
]


@pytest.fixture(scope="module")
def beats() -> list[np.ndarray]:
    """Three ECGs (12, 1000) in mV at 500 Hz."""
    random = np.random.default_rng(0)
    return [heartbeat(random, hertz=500.0, seconds=2.0) for _ in range(3)]


def write_waveform(path: Path, ecg: np.ndarray, *, named: bool = True, headed: bool = True) -> None:
    """The published form: an index, a column a lead, microvolts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(ecg.T * 1000)
    frame.columns = [*LEADS[: len(ecg)]] if named else frame.columns
    frame.to_csv(path, header=headed)


def write_table(folder: Path, beats: list[np.ndarray], lines: list[str] = LINES, head: str = HEAD) -> Path:
    """Write the table, and a waveform for each of its lines."""
    folder.mkdir(exist_ok=True)
    (folder / "tabular_data.csv").write_text("\n".join([head, *lines]) + "\n")
    for line, ecg in zip(lines, beats, strict=False):
        write_waveform(folder / "{}_{}.csv".format(*line.split(",")[:2]), ecg)
    return folder


def reason(folder: Path, index: int = 0, **options: Any) -> str:
    """The one line that says why a record cannot be read."""
    with pytest.raises(ValueError) as caught:
        Catheter(folder, **({"male": "True"} | options)).read(index)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_published_layout_is_read(tmp_path: Path, beats: list[np.ndarray]) -> None:
    source = pickle.loads(pickle.dumps(Catheter(write_table(tmp_path, beats), male="True")))
    made = [record for record in source.read_many(0, len(source)) if isinstance(record, Record)]
    assert [(r.record_id, r.patient_id) for r in made] == [
        ("0012_2012-03-04", "0012"),
        ("0012_2013-01-09", "0012"),
        ("1E5_2012-03-04", "1E5"),
    ]
    for record, ecg in zip(made, beats, strict=True):
        assert (record.leads, record.hertz, record.signal.dtype) == (LEADS, 500, np.float32)
        np.testing.assert_allclose(record.signal, ecg, atol=1e-6)
    assert made[0].row == {
        **{"age": 63, "sex": "male", "pap_sys": 40, "pap_dia": 20, "pap_mean": 27},
        **{"pcwp_sys": 22, "pcwp_dia": 14, "pcwp_mean": 18, "co": 5.1, "pvr": 1.8},
        **{"admit_diag": "dyspnoea", "implausible": ""},
    }
    assert (made[1].row["admit_diag"], made[2].row["sex"], made[2].row["age"]) == (None, "female", 57.5)


def test_an_import_filters_before_it_leaves_samples_out(tmp_path: Path, beats: list[np.ndarray]) -> None:
    """A tone of 210 Hz at 500 Hz would be one of 40 Hz if every second sample were taken."""
    tone = np.tile(np.sin(2 * np.pi * 210 * np.arange(1000) / 500), (12, 1)).astype(np.float32)
    slow = np.tile(np.sin(2 * np.pi * 11 * np.arange(1000) / 500), (12, 1)).astype(np.float32)
    source = Catheter(write_table(tmp_path / "made", [tone, slow, beats[2]]), male="True")
    store = import_(source, tmp_path / "store", hertz=250, seconds=2)
    ecg = store.read(np.arange(2))[:, :, 50:-50]
    assert np.abs(tone[:, ::2]).max() > 0.9 and np.abs(ecg[0]).max() < 0.01
    np.testing.assert_allclose(ecg[1], slow[:, ::2][:, 50:-50], atol=0.01)


def test_columns_become_tasks_and_no_patient_is_in_two_splits(
    tmp_path: Path, beats: list[np.ndarray]
) -> None:
    chance = np.random.default_rng(1)
    lines = [
        f"p{n // 2},d{n},60,{n % 4 < 2},40,20,27,22,14,{chance.uniform(4, 30):.1f},5,1,x" for n in range(40)
    ]
    lines[7] = "p3,d7,60,True,40,20,27,22,14,,5,1,x"
    source = Catheter(write_table(tmp_path / "made", [beats[n % 3] for n in range(40)], lines), male=True)
    store = import_(source, tmp_path / "store", seconds=2)
    number = find_task(store, {"column": "pcwp_mean", "kind": "regression", "unit": "mmHg"})
    truth = number.truth(store.records)
    assert np.isnan(truth).sum() == 1 and np.isnan(truth[7])
    rows = np.flatnonzero(~np.isnan(truth[:, 0]))
    split = divide(store.records, rows, truth[rows], Rule(shares=(0.6, 0.2, 0.2)))
    owners = [set(store.records["patient_id"].iloc[rows]) for rows in split.named().values()]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 20
    assert store.source == "catheter" and set(store.records["sex"]) == {"female", "male"}


def test_the_options_of_a_command_line_fit_any_table(tmp_path: Path, beats: list[np.ndarray]) -> None:
    head = "MRN;Visit;Years;Gender;Wedge;NT-proBNP;Ward;Urgent;File"
    lines = ["07;1;61,5;w;17,5;1200,5;A;true;a 1.csv", "07;2;62;w;;95;B;false;b.csv"]
    (tmp_path / "clinic.csv").write_text("\n".join([head, *lines]))
    write_waveform(tmp_path / "ecg/a 1.csv", beats[0])
    write_waveform(tmp_path / "ecg/b.csv", beats[1])
    sets = ["patient=MRN", "date=Visit", "age=years", "sex=Gender", "pcwp_mean=Wedge", "bnp=NT-proBNP"]
    options = options_of([*(f"columns.{said}" for said in sets), "waveforms=ecg/{File}", "table=clinic.csv"])
    first, second = make_source("catheter", tmp_path, options).read_many(0, 2)
    assert isinstance(first, Record) and isinstance(second, Record)
    assert (first.record_id, first.patient_id, second.record_id) == ("07_1", "07", "07_2")
    told = {"age": 61.5, "sex": "female", "pcwp_mean": 17.5, "bnp": 1200.5, "Ward": "A", "Urgent": True}
    assert first.row == told | {"File": "a 1.csv", "implausible": ""}
    assert (second.row["pcwp_mean"], second.row["bnp"], second.row["Urgent"]) == (None, 95, False)
    again = make_source(
        "catheter", tmp_path / "clinic.csv", {k: options[k] for k in ("columns", "waveforms")}
    )
    assert again.label(1) == "07_2"


def test_a_folder_of_waveforms(tmp_path: Path, beats: list[np.ndarray]) -> None:
    write_table(tmp_path, beats)
    (tmp_path / "waves").mkdir()
    for file in tmp_path.glob("*_*.csv"):
        if file.name != "tabular_data.csv":
            file.rename(tmp_path / "waves" / file.name)
    assert "holds no waveform of any line, such as '0012_2012-03-04.csv'; say how" in reason(tmp_path)
    source = Catheter(tmp_path, waveforms="waves", male="True")
    assert [isinstance(record, Record) for record in source.read_many(0, 3)] == [True] * 3


@pytest.mark.parametrize("file", ["7_3-4-2012-10-30", "7_3_4_2012_10_30", "7_3.4.2012.10.30"])
def test_dates_that_no_file_name_can_hold(tmp_path: Path, beats: list[np.ndarray], file: str) -> None:
    (tmp_path / "tabular_data.csv").write_text("QuantaID,Date_of_Cath\n7,3/4/2012 10:30\n")
    write_waveform(tmp_path / f"{file}.csv", beats[0])
    assert Catheter(tmp_path).read(0).record_id == "7_3/4/2012 10:30"
    write_waveform(tmp_path / "7_34201210:30.csv", beats[1])  # that one is not tried
    np.testing.assert_allclose(Catheter(tmp_path).read(0).signal, beats[0], atol=1e-6)


def test_a_waveform_that_two_lines_claim_is_nobodys(tmp_path: Path, beats: list[np.ndarray]) -> None:
    (tmp_path / "tabular_data.csv").write_text("QuantaID,Date_of_Cath\n7,1/2\n7,1-2\n8,1/2\n")
    write_waveform(tmp_path / "7_1-2.csv", beats[0])
    write_waveform(tmp_path / "8_1-2.csv", beats[1])
    for index in (0, 1):
        assert "its waveform 7_1-2.csv would be that of another line, too" in reason(tmp_path, index, male="")
    write_waveform(tmp_path / "8_1_2.csv", beats[2])
    assert "its waveform is 8_1-2.csv or 8_1_2.csv; keep one" in reason(tmp_path, 2, male="")


@pytest.mark.parametrize(
    ("held", "male", "read"),
    [
        (["Female", "m", "?"], "", ["female", "male", None]),
        (["True", "False", ""], "True", ["male", "female", None]),
        (["True", "False", "true"], False, ["female", "male", "female"]),
        (["1.0", "0.0", "NA"], 1, ["male", "female", None]),
        (["1", "2", "2"], 2, ["female", "male", "male"]),
        (["0", "0", "0"], "1", ["female"] * 3),
        (["K", "N", "K"], "K", ["male", "female", "male"]),
    ],
)
def test_sex_is_read_and_never_guessed(
    tmp_path: Path, beats: list[np.ndarray], held: list[str], male: Any, read: list[str | None]
) -> None:
    lines = [f"{n},d,{sex}" for n, sex in enumerate(held)]
    source = Catheter(write_table(tmp_path, beats, lines, "QuantaID,Date_of_Cath,Sex"), male=male)
    assert [source.read(n).row["sex"] for n in range(3)] == read


@pytest.mark.parametrize(
    ("held", "male", "told"),
    [
        (["True", "False"], "", "Sex holds 0, 1 and does not say which is male: say --set male=0 or another"),
        (["1", "2"], "", "holds 1, 2 and does not say"),
        (["F", "T"], "", "holds t and does not say"),
        (["1", "2", "9"], 1, "holds 1, 2, 9: with male=1 there can be one other value; empty the rest"),
        (["male", "female"], "True", "holds female, male: with male=True"),
    ],
)
def test_a_code_of_sex_without_its_meaning_is_refused(
    tmp_path: Path, beats: list[np.ndarray], held: list[str], male: Any, told: str
) -> None:
    lines = [f"{n},d,{sex}" for n, sex in enumerate(held)]
    assert told in reason(write_table(tmp_path, beats, lines, "QuantaID,Date_of_Cath,Sex"), male=male)


def test_implausible_numbers_are_unknown_and_counted(tmp_path: Path, beats: list[np.ndarray]) -> None:
    lines = ["1,a,60,81,-5.5,12,0", "2,a,60,80,-5,150,30", "3,a,190,,n/a,nan,2000"]
    head = "QuantaID,Date_of_Cath,Age_at_Cath,PCWP_sys,PCWP_mean,PAP_mean,CO"
    write_table(tmp_path / "made", beats, lines, head)
    with pytest.warns(UserWarning, match=r"\(2 of co, 1 of pcwp_mean, 1 of pcwp_sys\)"):
        source = Catheter(tmp_path / "made")
    records = import_(source, tmp_path / "store", seconds=2).records
    np.testing.assert_equal(records["pcwp_sys"].to_numpy(float), [np.nan, 80, np.nan])
    np.testing.assert_equal(records["pcwp_mean"].to_numpy(float), [np.nan, -5, np.nan])
    np.testing.assert_equal(records["co"].to_numpy(float), [np.nan, 30, np.nan])
    assert records["implausible"].tolist() == ["pcwp_sys pcwp_mean co", "", "co"]
    assert np.isnan(records["age"].iloc[2])


def test_what_cannot_be_read_is_told_and_the_rest_comes_in(tmp_path: Path, beats: list[np.ndarray]) -> None:
    good = [f"{n},day,60,True,40,20,27,22,14,18,5.1,1.8,x" for n in range(10)]
    folder = write_table(tmp_path / "made", [beats[n % 3] for n in range(10)], good)
    lines = list(good)
    lines[1] = lines[1].replace(",18,", ",about 18 says Dr. Who,")
    lines[2] = lines[2].replace("2,day", "3,day")
    lines[4] = lines[4].replace("4,day", ",day")
    (folder / "tabular_data.csv").write_text("\n".join([HEAD, *lines]))
    (folder / "5_day.csv").unlink()
    (folder / "6_day.csv").write_text((folder / "6_day.csv").read_text().replace("\n3,", "\n3,x", 1))
    write_waveform(folder / "7_day.csv", beats[0][:11], named=False)
    (folder / "8_day.csv").write_text("")
    store = import_(Catheter(folder, male="True"), tmp_path / "store", seconds=2)
    assert store.records["record_id"].tolist() == ["0_day", "9_day"]
    rejected = pd.read_parquet(store.path / "rejected.parquet")
    assert rejected["label"].tolist() == [
        "1_day",
        "3_day",
        "3_day",
        "_day",
        "5_day",
        "6_day",
        "7_day",
        "8_day",
    ]
    told = rejected["reason"].tolist()
    assert told[0] == (
        "tabular_data.csv, line 3, record 1_day: PCWP_mean is not a number; write it as one, or leave the "
        "cell empty."
    )
    assert all("2 lines have this QuantaID and Date_of_Cath; keep one, or tell" in line for line in told[1:3])
    assert "line 6, record _day: it has no QuantaID; fill it in" in told[3]
    assert "line 7, record 5_day: its waveform 5_day.csv is not there; bring it, or say" in told[4]
    assert "6_day.csv: line 5 of column I: not a number; mend the file" in told[5]
    assert "7_day.csv: its first line names no ECG lead (, 0, 1" in told[6] and "say leads=I,II" in told[6]
    assert "8_day.csv: its first line names no ECG lead (it is empty)" in told[7]
    assert not any("Dr. Who" in line or "\n" in line for line in told)


@pytest.mark.parametrize("headed", [True, False])
def test_leads_without_names_are_taken_in_the_order_that_is_said(
    tmp_path: Path, beats: list[np.ndarray], headed: bool
) -> None:
    folder = write_table(tmp_path, beats)
    write_waveform(folder / "0012_2012-03-04.csv", beats[0], named=False, headed=headed)
    assert "names no ECG lead" in reason(folder)
    turned = (*LEADS[6:], *LEADS[:6])
    record = Catheter(folder, male="True", leads=",".join(turned)).read(0)
    assert record.leads == turned and record.signal.shape == (12, 1000)  # the line of names is no sample
    np.testing.assert_allclose(record.signal, beats[0], atol=1e-6)
    assert Catheter(folder, male="True", leads=turned).read(1).leads == LEADS  # what a file says, wins
    write_waveform(folder / "0012_2012-03-04.csv", beats[0][:11], named=False, headed=headed)
    assert "has 12 columns, not an index and the 12 leads of leads=" in reason(folder, leads=LEADS)


def test_named_leads_may_be_few_in_any_order_and_have_gaps(tmp_path: Path, beats: list[np.ndarray]) -> None:
    folder = write_table(tmp_path / "made", beats)
    file = folder / "0012_2012-03-04.csv"
    frame = pd.DataFrame(beats[0].T * 1000, columns=[f"lead {name}" for name in LEADS])
    frame = frame[["lead II", "lead I", "lead V1"]]
    frame.iloc[3, 2] = None
    frame.to_csv(file)
    record = Catheter(folder, male="True").read(0)
    assert record.leads == ("II", "I", "V1") and np.isnan(record.signal).sum() == 1
    np.testing.assert_allclose(record.signal[1], beats[0][0], atol=1e-6)
    store = import_(Catheter(folder, male="True"), tmp_path / "store", seconds=2)
    assert store.records["absent"].tolist() == ["V2 V3 V4 V5 V6", "", ""]


def test_units_and_rates_are_those_that_are_said(tmp_path: Path, beats: list[np.ndarray]) -> None:
    folder = write_table(tmp_path, beats)
    for units, factor in (("mV", 1), ("V", 1000), (0.005, 0.005), ("uV", 1e-3)):
        record = Catheter(folder, male="True", units=units, hertz=1000).read(0)
        np.testing.assert_allclose(record.signal, beats[0] * 1000 * factor, rtol=1e-4, atol=1e-3 * factor)
        assert record.hertz == 1000
    for wrong in ({"units": "auto"}, {"hertz": 0}):
        assert "need hertz above 0 and units: uV, mV, V or the mV of one unit" in reason(folder, **wrong)


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        (
            None,
            {},
            "tabular_data.csv: cannot be read (No such file or directory); name the table with table=",
        ),
        ("", {}, "lists no catheterisation"),
        (f"{HEAD}\n", {}, "lists no catheterisation"),
        ("a\0,b\n", {}, "is not a table of text (it holds binary data"),
        (
            "QuantaID,Day\n1,2\n",
            {},
            "no column 'Date_of_Cath'; say --set columns.date=..., one of: QuantaID, Day",
        ),
        ("QuantaID,Date_of_Cath,x\n1,2\n", {}, "line 2: 2 cells where the first line names 3"),
        ("QuantaID,Date_of_Cath,x,x\n1,2,3,4\n", {}, "has column 'x' twice: keep one"),
        ("QuantaID,Date_of_Cath,start\n1,2,3\n", {}, "column 'start' would be 'start' in the store"),
        ("QuantaID,Date_of_Cath\n1,2\n", {"columns": {"co": "C0"}}, "no column 'C0'; say --set columns.co="),
        ("QuantaID,Date_of_Cath\n1,2\n", {"columns": {"patient_id": "QuantaID"}}, "store itself writes"),
        (
            "QuantaID,Date_of_Cath\n1,2\n",
            {"waveforms": "{Fill}.csv"},
            "tabular_data.csv has no column 'Fill'",
        ),
    ],
)
def test_a_table_that_cannot_be_is_refused_in_one_line(
    tmp_path: Path, text: str | None, options: dict[str, Any], told: str
) -> None:
    if text is not None:
        (tmp_path / "tabular_data.csv").write_text(text)
    said = reason(tmp_path, **options)
    assert told in said and ("columns.patient_id" in said or str(tmp_path) in said)


def test_another_meaning_of_the_same_table_is_another_import(tmp_path: Path, beats: list[np.ndarray]) -> None:
    folder = write_table(tmp_path / "made", beats)
    store = tmp_path / "store"
    assert len(import_(Catheter(folder, male="True"), store, seconds=2)) == 3
    assert len(import_(Catheter(folder, male="True"), store, seconds=2)) == 3
    with pytest.raises(ValueError, match="other options"):
        import_(Catheter(folder, male="False"), store, seconds=2)
    file = folder / "tabular_data.csv"
    file.write_text(file.read_text().replace("24.5", "24.4"))
    with pytest.raises(ValueError, match="files have changed"):
        import_(Catheter(folder, male="True"), store, seconds=2)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory, beats: list[np.ndarray]) -> dict[str, Store]:
    """One of made-up pressures, one of a table: by the name of the column of mean PCWP."""
    folder = tmp_path_factory.mktemp("stores")
    chance = np.random.default_rng(1)
    lines = [f"p{n // 2},d{n},60,M,40,20,27,22,14,{chance.integers(10, 25)},5,1,x" for n in range(60)]
    ecgs = [np.tile(beats[n % 3], 2) for n in range(60)]
    source = Catheter(write_table(folder / "made", ecgs, lines))
    return {
        "pcwp_mean": import_(source, folder / "catheter", seconds=3),
        "pcwp": import_(Synthetic(records=200, seconds=3), folder / "synthetic", seconds=3),
    }


@pytest.mark.parametrize("column", ["pcwp", "pcwp_mean"])
@pytest.mark.parametrize(
    ("name", "label"), [("pcwp", "{}"), ("pcwp18", "{} > 18"), ("pcwp15", "{} >= 15")], ids=lambda x: x
)
def test_the_recipes_fit_both_stores(
    root: Path, stores: dict[str, Store], name: str, label: str, column: str
) -> None:
    sets = [] if column == "pcwp" else [f"task.column={column}"]
    planned = plan(recipe.load(root / f"recipes/hemodynamics/{name}.toml", sets), stores[column])
    number = stores[column].records[column].to_numpy(float)
    assert planned.task.labels == (label.format(column),)
    expected = {"pcwp": number, "pcwp18": number > 18, "pcwp15": number >= 15}[name]
    np.testing.assert_allclose(planned.truth[:, 0], expected, rtol=1e-6)
    assert (number == 15).any() or column == "pcwp"  # the two thresholds differ in what they do with it
    if name == "pcwp":
        train = number[planned.split.train]
        assert (planned.task.mean, planned.task.sd) == pytest.approx((train.mean(), train.std()), rel=1e-5)
        assert planned.task.unit == "mmHg" and planned.recipe["evaluate"]["above"] == 18
