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
        (["K", "N", "K"], "K", ["male", "female", "male"]),
        (["M", "M", ""], "m", ["male", "male", None]),
        (["male", "F", "M"], "M", ["male", "female", "male"]),
        (["H", "F", "H"], "H", ["male", "female", "male"]),
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
        (["1", "2", "9"], 1, "Sex holds 3 values: with male=1 there can be one other, and line 4 holds one"),
        (["", "male", "female"], "True", "Sex holds words (the first in line 3) that male=True does not fit"),
        (["M", "M"], "True", "that male=True does not fit: leave male out"),
        (["M", "F"], "f", "that male=f does not fit"),
        (["M", "H"], "H", "that male=H does not fit"),
        (["M", "K"], "M", "Sex, line 3: neither a word for a sex nor male=M; write it as a word, or leave"),
        (["1950", "1951"], "", "Sex holds 2 codes (one in line 2) and does not say which is male"),
    ],
)
def test_a_code_of_sex_without_its_meaning_is_refused(
    tmp_path: Path, beats: list[np.ndarray], held: list[str], male: Any, told: str
) -> None:
    lines = [f"{n},d,{sex}" for n, sex in enumerate(held)]
    assert told in reason(write_table(tmp_path, beats, lines, "QuantaID,Date_of_Cath,Sex"), male=male)


@pytest.mark.parametrize(
    ("column", "told"), [("Sex", "so all whose sex is known are female"), ("Gender", "so no sex is known")]
)
def test_a_meaning_of_male_that_nothing_has_is_told(
    tmp_path: Path, beats: list[np.ndarray], column: str, told: str
) -> None:
    lines = [f"{n},d,0" for n in range(3)]
    folder = write_table(tmp_path, beats, lines, f"QuantaID,Date_of_Cath,{column}")
    with pytest.warns(UserWarning, match=rf"no line holds male=1, {told}\."):
        source = Catheter(folder, male="1")
    assert {source.read(n).row.get("sex") for n in range(3)} == {"female" if column == "Sex" else None}


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
    assert "6_day.csv: sample 4 of column 2 is no number; mend the file" in told[5]
    assert "7_day.csv: its first line names no ECG lead; name them there, or say leads=" in told[6]
    assert "8_day.csv: its first line names no ECG lead" in told[7]
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
    assert "names its leads in another order than leads=; leave" in reason(folder, 1, leads=turned)
    assert Catheter(folder, male="True", leads=LEADS).read(1).leads == LEADS
    write_waveform(folder / "0012_2012-03-04.csv", beats[0][:11], named=False, headed=headed)
    assert "has 12 columns where `leads` names 12 beside an index" in reason(folder, leads=LEADS)


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
            "tabular_data.csv is not there; name the table with table=",
        ),
        ("", {}, "is not a table of comma-separated text (it is empty)"),
        (f"{HEAD}\n{',' * 12}\n", {}, "lists no catheterisation"),
        (f"{HEAD}\n", {}, "lists no catheterisation"),
        ("a\0,b\n", {}, "is not a table of comma-separated text (it holds binary"),
        (
            "QuantaID,Day\n1,2\n",
            {},
            "no column 'Date_of_Cath'; say --set columns.date=..., one of: QuantaID, Day",
        ),
        ("QuantaID,Date_of_Cath,x\n1,2\n", {}, "line 2: 2 cells where the first line names 3"),
        ("QuantaID,Date_of_Cath\n1,2\n\n1,2,3\n", {}, "line 4: 3 cells where the first line names 2"),
        ('QuantaID,Date_of_Cath\n1,2\n1,"3\n4,5\n', {}, "the quote that opens in line 3 is never closed"),
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


def write_one(folder: Path, *cells: str, head: str = "", by: str = ",") -> Path:
    """Write a table of one line, of patient 1 on day d; `cells` are those of the columns in `head`."""
    folder.mkdir(exist_ok=True)
    lines = (by.join(["QuantaID", "Date_of_Cath", *filter(None, [head])]), by.join(["1", "d", *cells]))
    (folder / "tabular_data.csv").write_text("\n".join(lines) + "\n")
    return folder


def wave(first: str = "", *, by: str = ",", samples: int = 4, **cells: str) -> str:
    """A waveform of twelve leads: sample n of lead k is n.k, save for `cells`, as in s0l2="x"."""
    lines = [first] if first else []
    for n in range(samples):
        lines.append(by.join([str(n), *(cells.get(f"s{n}l{k}", f"{n}.{k}") for k in range(12))]))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("cell", "options", "factor"),
    [
        ("{}", {}, 1e-3),
        ("{}", {"units": "mV"}, 1),
        ("{} (uV)", {}, 1e-3),
        ("{} (mV)", {}, 1),
        ("Lead {} [V]", {}, 1000),
        ("{} (mV)", {"units": "mV"}, 1),
        ("{} (mV)", {"leads": ",".join(LEADS)}, 1),
    ],
)
def test_a_unit_beside_the_leads_holds(
    tmp_path: Path, cell: str, options: dict[str, Any], factor: float
) -> None:
    (write_one(tmp_path) / "1_d.csv").write_text(wave(",".join(["", *map(cell.format, LEADS[::-1])])))
    if "leads" in options:
        assert "names its leads in another order than leads=" in reason(tmp_path, male="", **options)
        (tmp_path / "1_d.csv").write_text(wave(",".join(["", *map(cell.format, LEADS)])))
    record = Catheter(tmp_path, **options).read(0)
    assert record.leads == (LEADS if "leads" in options else LEADS[::-1])
    np.testing.assert_allclose(record.signal[2], (np.arange(4) + 0.2) * factor, rtol=1e-6)


@pytest.mark.parametrize(
    ("first", "options", "told"),
    [
        ("{} (mV)", {"units": "uV"}, "has another unit than units=; leave units= out"),
        ("{} (uV)", {"units": 0.005}, "has another unit than units="),
        ("{} (secret)", {}, "gives a lead in a unit which is no unit of voltage"),
        ("{}_mV", {}, "its first line names no ECG lead; name them there"),
        (
            "{}_mV",
            {"leads": LEADS},
            "names leads or units in its first line, but not in the form I or I (mV)",
        ),
        ("channel {}", {"leads": LEADS}, "not in the form I or I (mV)"),
    ],
)
def test_a_first_line_that_speaks_against_the_options_is_refused(
    tmp_path: Path, first: str, options: dict[str, Any], told: str
) -> None:
    (write_one(tmp_path) / "1_d.csv").write_text(wave(",".join(["", *map(first.format, LEADS[::-1])])))
    said = reason(tmp_path, male="", **options)
    assert told in said and "secret" not in said


def test_a_unit_in_a_first_line_without_leads_holds(tmp_path: Path) -> None:
    first = ",".join(["n", *(f"channel {n} (mV)" for n in range(12))])
    (write_one(tmp_path) / "1_d.csv").write_text(wave(first))
    np.testing.assert_allclose(Catheter(tmp_path, leads=LEADS).read(0).signal[1, 2], 2.1, rtol=1e-6)
    assert "has another unit than units=" in reason(tmp_path, male="", leads=LEADS, units="uV")


@pytest.mark.parametrize(
    ("name", "step", "options", "hertz"),
    [
        ("time", 1 / 250, {}, 250),
        ("Time [ms]", 4, {}, 250),
        ("t", 1 / 250, {"hertz": 250}, 250),
        ("", 1, {}, 500),
        ("sample", 1, {"hertz": 1000}, 1000),
        ("time", 1 / 250, {"leads": "no"}, 250),
        ("time", 1 / 250, {"hertz": 500}, "gives 250 Hz, not hertz=500"),
        ("time [min]", 1, {}, "has a column of times that is not in s, ms or us"),
        ("", 1 / 250, {}, "has a first column that does not count 1, 2, 3"),
        ("", 2, {}, "does not count 1, 2, 3: samples are missing, or it holds times"),
        ("timestamp", 4, {}, "is to be called time [s] or time [ms]"),
    ],
)
def test_a_column_of_times_gives_the_rate(
    tmp_path: Path, name: str, step: float, options: dict[str, Any], hertz: float | str
) -> None:
    names = LEADS
    if "leads" in options:
        names, options = tuple(map(str, range(12))), {"leads": LEADS}
    lines = [",".join([f"{n * step:.10g}", *["1"] * 12]) for n in range(50)]
    (write_one(tmp_path) / "1_d.csv").write_text("\n".join([",".join([name, *names]), *lines]))
    if isinstance(hertz, str):
        assert hertz in reason(tmp_path, male="", **options)
    else:
        record = Catheter(tmp_path, **options).read(0)
        assert (record.hertz, record.leads, record.signal.shape) == (hertz, LEADS, (12, 50))


@pytest.mark.parametrize(
    ("by", "pvr", "co", "read"),
    [
        (",", '"1,200"', "5.5", "PVR has a comma that may be one of thousands; write it without"),
        (";", "1,200", "5.5", "PVR has a comma that may be one of thousands"),
        (",", '"1,200"', '"5,5"', 1.2),  # the other number shows what a comma is here
        (";", "1,200", "5,5", 1.2),
        (";", "1.200", "5,5", "PVR has a point that may be one of thousands"),
        (",", "1.200", "5.5", 1.2),
        (";", "1.234,5", "5,5", "PVR is not a number"),
        (",", '"0,250"', "", 0.25),
    ],
)
def test_a_comma_is_read_as_the_table_shows_it(
    tmp_path: Path, by: str, pvr: str, co: str, read: float | str
) -> None:
    write_one(tmp_path, pvr, co, head=by.join(["PVR", "CO"]), by=by)
    (tmp_path / "1_d.csv").write_text(wave(",".join(["", *LEADS])))
    if isinstance(read, str):
        assert f"tabular_data.csv, line 2, record 1_d: {read}" in reason(tmp_path, male="")
    else:
        assert Catheter(tmp_path).read(0).row["pvr"] == read


def test_a_column_of_our_own_is_text_where_its_commas_leave_a_doubt(tmp_path: Path) -> None:
    (tmp_path / "1_d.csv").write_text(wave(",".join(["", *LEADS])))
    for cell, by, read in (
        ('"1,200"', ",", "1,200"),
        ("1,200", ";", "1,200"),
        ("12,25", ";", 12.25),
        ("1.5", ",", 1.5),
    ):
        assert Catheter(write_one(tmp_path, cell, head="bnp", by=by)).read(0).row["bnp"] == read


def test_a_comma_is_read_as_the_waveform_shows_it(tmp_path: Path) -> None:
    (write_one(tmp_path) / "1_d.csv").write_text(
        wave("\t".join(["", *LEADS]), by="\t", s0l0="1,234").replace(".", ",")
    )
    assert Catheter(tmp_path).read(0).signal[0, 0] == pytest.approx(1.234e-3)
    lines = ["\t".join(["", *LEADS]), *("\t".join([str(n), *["1,234"] * 12]) for n in range(4))]
    (tmp_path / "1_d.csv").write_text("\n".join(lines))
    assert "has commas that may be those of thousands; write" in reason(tmp_path, male="")
    (tmp_path / "1_d.csv").write_text(wave(",".join(["", *LEADS]), s2l3='"1,234"'))
    assert "sample 3 of column 5 is no number" in reason(tmp_path, male="")
    text = wave(";".join(["", *LEADS]), by=";", s2l3="oops").replace(".", ",")
    (tmp_path / "1_d.csv").write_text(text)  # not sample 1, whose comma is right
    assert "sample 3 of column 5 is no number" in reason(tmp_path, male="")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (wave(s0l2=""), 4),  # a gap in the first sample makes it no line of names
        (wave("," + ",".join(map(str, range(12)))), 4),
        (wave("idx," + ",".join(map(str, range(1, 13)))), 4),
        (wave("n," + ",".join(f"ch{n}" for n in range(12))), 4),
        (wave("999," + ",".join(map(str, range(12)))), "does not count 1, 2, 3"),
        (wave("," + ",".join(f"{n}.5" for n in range(12))), "first line that is neither a sample nor names"),
        (wave("," * 12), "first line that is neither a sample nor names"),
    ],
)
def test_a_first_line_is_told_from_a_sample(tmp_path: Path, text: str, read: int | str) -> None:
    (write_one(tmp_path) / "1_d.csv").write_text(text)
    if isinstance(read, str):
        assert read in reason(tmp_path, male="", leads=LEADS)
    else:
        signal = Catheter(tmp_path, leads=LEADS).read(0).signal
        assert signal.shape == (12, read) and signal[0, 1] == np.float32(1e-3)
        assert np.isnan(signal).sum() == text.count(",,")


def test_every_file_that_a_line_could_mean_counts(tmp_path: Path, beats: list[np.ndarray]) -> None:
    """The first line means one file for sure, the second either: so the first cannot have it."""
    (tmp_path / "tabular_data.csv").write_text("QuantaID,Date_of_Cath\n1,3/4-5\n1,3/4/5\n2,x\n")
    for name, ecg in zip(("1_3-4-5", "1_3_4_5", "2_x"), beats, strict=True):
        write_waveform(tmp_path / f"{name}.csv", ecg)
    assert "its waveform 1_3-4-5.csv would be that of another line, too" in reason(tmp_path, 0, male="")
    assert "its waveform is 1_3-4-5.csv or 1_3_4_5.csv; keep one" in reason(tmp_path, 1, male="")
    assert Catheter(tmp_path).read(2).record_id == "2_x"
    (tmp_path / "tabular_data.csv").write_text(
        "QuantaID,Date_of_Cath,File\n1,a,./2_x.csv\n2,b,2_x.csv\n3,c,1_3_4_5.csv\n"
    )
    assert "would be that of another line" in reason(tmp_path, 0, male="", waveforms="{File}")


def test_what_is_told_quotes_no_cell(tmp_path: Path, beats: list[np.ndarray]) -> None:
    """Who reads rejected.parquet or a log learns ids, lines and names of columns."""
    head, who = "QuantaID,Date_of_Cath,Fold,PVR,Who,File", "John Smith"
    lines = [f"{n},d,1,2,x,{n}.csv" for n in range(6)]
    lines[1] = f"1,d,{who},2,x,1.csv"
    lines[2] = f"2,d,1,{who},x,2.csv"
    lines[3] = f"3,d,1,2,x,{who}"
    folder = write_table(tmp_path / "made", [], lines, head)
    for n in range(6):
        write_waveform(folder / f"{n}.csv", beats[0])
    (folder / "4.csv").write_text(f"{who},was,here\n1,2,3\n")
    text = (folder / "5.csv").read_text()
    (folder / "5.csv").write_text(text.replace("\n7,", f"\n7,{who}", 1))
    store = import_(Catheter(folder, waveforms="{File}"), tmp_path / "store", seconds=2)
    rejected = pd.read_parquet(store.path / "rejected.parquet")["reason"].tolist()
    assert [line for line in rejected if who in line or "John" in line or "\n" in line] == []
    assert "line 3, record 1_d: Fold is not a number; write it as one" in rejected[0]
    assert "line 4, record 2_d: PVR is not a number" in rejected[1]
    assert "line 5, record 3_d: its waveform {File} is not there" in rejected[2]
    assert "4.csv: its first line names no ECG lead; name" in rejected[3]
    assert "5.csv: sample 8 of column 2 is no number" in rejected[4]
    for wrong in ("0", "1.5", "-1"):
        (folder / "tabular_data.csv").write_text(f"{head}\n0,d,{wrong},2,x,0.csv\n")
        assert "record 0_d: Fold is not a whole number from 1 up" in reason(
            folder, male="", waveforms="{File}"
        )
    (folder / "tabular_data.csv").write_text(
        "\n".join([head, *(f"{n},d,1,2,{who}{n},0.csv" for n in range(4))])
    )
    said = reason(folder, columns={"sex": "Who"}, waveforms="{File}", male=True)
    assert "Who holds 4 values: with male=True" in said and who.lower() not in said.lower()


def test_a_cell_leads_nowhere_out_of_the_folder(tmp_path: Path, beats: list[np.ndarray]) -> None:
    folder = write_table(tmp_path / "in", beats, [LINES[0], f"../x{LINES[1][4:]}"])
    assert (tmp_path / "x_2013-01-09.csv").is_file()
    assert "x_2013-01-09" in reason(folder, 1)
    write_waveform(tmp_path / "out" / "0012_2012-03-04.csv", beats[0])
    (folder / "0012_2012-03-04.csv").unlink()
    away = Catheter(folder, male="True", waveforms="../out/{patient}_{date}.csv")  # the user may say so
    assert away.read(0).leads == LEADS
    head, line = "QuantaID,Date_of_Cath,File", f"1,d,{tmp_path / 'out' / '0012_2012-03-04.csv'}"
    listed = write_table(tmp_path / "listed", [], [line], head)
    assert Catheter(listed, waveforms="{File}").read(0).leads == LEADS  # and so may a column of files


def test_a_name_that_no_disk_can_hold_is_not_there(tmp_path: Path, beats: list[np.ndarray]) -> None:
    lines = [f"{'9' * 300},d", "1,d"]
    folder = write_table(tmp_path / "made", [], lines, "QuantaID,Date_of_Cath")
    write_waveform(folder / "1_d.csv", beats[0])
    store = import_(Catheter(folder), tmp_path / "store", seconds=2)
    (told,) = pd.read_parquet(store.path / "rejected.parquet")["reason"]
    assert store.records["record_id"].tolist() == ["1_d"] and "99_d.csv is not there; bring it" in told


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\nQuantaID;Date_of_Cath;PCWP_mean\n1;d;12,5\n",
        "\ufeffQuantaID,Date_of_Cath,PCWP_mean\r\n1,d,12.5\r\n",
        "QuantaID\tDate_of_Cath\tPCWP_mean\n1\td\t12.5\n",
        "\n\nQuantaID,Date_of_Cath,PCWP_mean\n\n1,d,12.5\n   \n,,\n\n",
        "QuantaID,Date_of_Cath,PCWP_mean,,\n1,d,12.5,,\n",
        "\ufeffsep=,\r\nQuantaID,Date_of_Cath,PCWP_mean\r\n1,d,12.5\r\n , ,\r\n",
    ],
)
def test_tables_as_spreadsheets_write_them(tmp_path: Path, beats: list[np.ndarray], text: str) -> None:
    (tmp_path / "tabular_data.csv").write_bytes(text.encode())
    write_waveform(tmp_path / "1_d.csv", beats[0])
    source = Catheter(tmp_path)
    assert len(source) == 1 and source.read(0).row == {"pcwp_mean": 12.5, "implausible": ""}


def test_a_table_of_an_older_program_and_paths_of_windows(tmp_path: Path, beats: list[np.ndarray]) -> None:
    text = "QuantaID,Date_of_Cath,Stra\xdfe,File\n1,d,M\xfcllerweg,ecg\\a.csv\n2,d,x,ecg/b.csv\n"
    (tmp_path / "tabular_data.csv").write_bytes(text.encode("cp1252"))
    for name, ecg in zip("ab", beats, strict=False):
        write_waveform(tmp_path / f"raw/ecg/{name}.csv", ecg)
    source = Catheter(tmp_path, waveforms="raw\\{File}")
    for n in range(2):
        np.testing.assert_allclose(source.read(n).signal, beats[n], atol=1e-6)
    assert source.read(0).row["Straße"] == "Müllerweg"


def test_lines_are_those_of_the_file(tmp_path: Path, beats: list[np.ndarray]) -> None:
    head = "QuantaID,Date_of_Cath,Note"
    rows = ["sep=,", "", head, '1,d,"a', 'b"', "", "   ", "2,d,x", "3,d,x", "3,d,x"]
    (tmp_path / "tabular_data.csv").write_text("\r\n".join(rows), newline="")
    write_waveform(tmp_path / "1_d.csv", beats[0])
    assert Catheter(tmp_path).read(0).row["Note"] == "a\r\nb"
    for index, line in ((1, 8), (2, 9), (3, 10)):
        assert f"tabular_data.csv, line {line}, record" in reason(tmp_path, index, male="")
