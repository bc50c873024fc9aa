"""Tables of what is known of records, as people's spreadsheets write them."""

import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from einthoven.data.convert import Form, convert, plain, tidy
from einthoven.data.labels import Labels
from einthoven.data.tables import Table, lead_list, separator_of
from einthoven.ecg import LEADS, Record, Source


def table(folder: Path, text: str | bytes) -> Path:
    path = folder / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def joined(path: Path, *ids: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{"record_id": name} for name in ids]
    Labels(path).join(rows)
    return rows


def refused(path: Path) -> str:
    with pytest.raises(ValueError, match=str(path)) as caught:
        Labels(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_known_columns_are_found_in_any_case_and_ids_without_spaces(tmp_path: Path) -> None:
    path = table(
        tmp_path, "x, Record_ID ,Patient_ID,AGE,Sex,FOLD,Report\n1, r0 , 007 ,61,W,2,a;b\n2,r1,,,,,\n"
    )
    first, second = joined(path, "r0", "r1")
    assert first == {
        "record_id": "r0",
        "x": 1,
        "patient_id": "007",
        "age": 61,
        "sex": "female",
        "fold": 2,
        "report": "a;b",
    }
    assert second == {"record_id": "r1", "x": 2}
    record_id, patient_id, row = Table(path).line(0)
    assert (record_id, patient_id, row["age"], row["report"]) == ("r0", "007", 61, "a;b")


def test_a_column_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    assert "column 'age' twice" in refused(table(tmp_path, "id,Age,age\na,1,2\n"))


def test_words_for_nothing_stay_words_in_text_and_are_gaps_among_numbers(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "record_id,rhythm,pcwp,task,yes\nNA,None,NA,NA;MI,True\nnull,NA,12.5,None,\nc,,nan,null,False\n",
    )
    first, second, third = joined(path, "NA", "null", "c")
    assert first == {"record_id": "NA", "rhythm": "None", "task": ["MI", "NA"], "yes": True}
    assert second == {"record_id": "null", "rhythm": "NA", "pcwp": 12.5, "task": ["None"]}
    assert third == {"record_id": "c", "task": ["null"], "yes": False}
    assert [Table(path).line(index)[2]["rhythm"] for index in range(3)] == ["None", "NA", None]


@pytest.mark.parametrize("start", ["", "sep=;\r\n"])
@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig", "cp1252"])
def test_a_german_spreadsheet_is_read(tmp_path: Path, start: str, code: str) -> None:
    text = start + 'record_id;sex;pcwp;Größe;dx\r\nr0;männlich;12,5;1.234;"MI;CD"\r\nr1;weiblich;7;180;\r\n'
    first, second = joined(table(tmp_path, text.encode(code)), "r0", "r1")
    # 1.234 may be a thousand: the column stays text rather than be wrong by that much
    assert first == {"record_id": "r0", "sex": "male", "pcwp": 12.5, "Größe": "1.234", "dx": ["CD", "MI"]}
    assert (second["sex"], second["pcwp"]) == ("female", 7)


def test_tabs_and_thousands_in_quotes(tmp_path: Path) -> None:
    assert joined(table(tmp_path, "id\tx\na\t1.5\n"), "a") == [{"record_id": "a", "x": 1.5}]
    assert joined(table(tmp_path, 'id,x\na,"1,234"\n'), "a") == [{"record_id": "a", "x": "1,234"}]
    assert joined(table(tmp_path, "id,x;y,z\na,1,2\n"), "a") == [{"record_id": "a", "x;y": 1, "z": 2}]
    assert separator_of('"a;b;c",d') == "," and separator_of("1,5\t2,5\t3,5", decimals=True) == "\t"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("record_id\nr0\n", "has one column, 'record_id': .*commas, semicolons or tabs"),
        ("record_id|x\nr0|1\n", "has one column, 'record_id|x'"),
        ("record_id,x\nr0,1,2\n", "not a table of comma-separated text"),
        ("record_id,age\nr0,61\nr1,>89\n", "record_id 'r1': age is a number of years, got '>89'"),
        ("record_id,age\nr0,61\nr1,>89\n".encode("utf-16"), "binary data; save it as CSV"),
    ],
)
def test_what_is_no_table_of_labels_is_refused_before_the_import(
    tmp_path: Path, content: str | bytes, line: str
) -> None:
    assert re.search(line.replace("|", r"\|"), refused(table(tmp_path, content)))


def test_codes_stay_text_and_one_odd_cell_blames_its_own_line(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "record_id,age,site,device,big,x\n1,61,007,1234567890123456,1,0.12345678901234567\n2,>89,12,3,2,2\n",
    )
    sheet = Table(path)
    row = sheet.line(0)[2]
    assert (row["age"], row["site"], row["device"]) == (61.0, "007", "1234567890123456")
    assert (row["big"], row["x"]) == (1, 0.12345678901234567)
    with pytest.raises(ValueError, match=r"line 3: age is a number of years, got '>89'"):
        sheet.line(1)


def test_numbers_beyond_64_bits_become_text() -> None:
    assert [plain(value) for value in (2**63 - 1, 2**63, -(2**63) - 1, True)] == [
        2**63 - 1,
        str(2**63),
        str(-(2**63) - 1),
        True,
    ]
    assert tidy({"age": "NA", "fold": "3", "sex": "NA"}) | {"report": "", "patient_id": None} == {
        "age": None,
        "fold": 3,
        "sex": None,
        "report": "",
        "patient_id": None,
    }
    with pytest.raises(ValueError, match="fold is a whole number"):
        tidy({"fold": 10**30})
    with pytest.raises(ValueError, match="sex is told in words"):
        tidy({"sex": "1.0"})


class Broken(Source):
    """Every other record breaks its reader, each in another way."""

    errors = (MemoryError(), OverflowError("too large"), zlib.error("bad\nblock"), ZeroDivisionError("0"))

    def __len__(self) -> int:
        return 2 * len(self.errors)

    def label(self, index: int) -> str:
        return str(index)

    def read(self, index: int) -> Record:
        if index % 2:
            raise self.errors[index // 2]
        return Record(str(index), "", np.ones((12, 100), np.float32), LEADS, 100.0)


def test_a_record_that_breaks_its_reader_is_rejected_and_the_next_are_read() -> None:
    chunk = convert(Broken(), Form(100.0, 1.0, 1.0), 0, 8)
    assert [row["record_id"] for row in chunk.rows] == ["0", "2", "4", "6"]
    assert [(line["index"], line["reason"]) for line in chunk.rejected] == [
        (1, "MemoryError: no more is said"),
        (3, "OverflowError: too large"),
        (5, "zlib.error: bad block"),
        (7, "ZeroDivisionError: 0"),
    ]


def test_leads_from_the_command_line() -> None:
    assert lead_list("I, II") == lead_list(("I", "II")) == ("I", "II")
