"""The fast reader of plain WFDB, against the `wfdb` package on records that are made here."""

import os
from pathlib import Path

import numpy as np
import pytest

from einthoven.data.sources.wfdb import package
from einthoven.data.wfdb16 import millivolts, read_header, read_plain

wfdb = package()
LEADS = ["I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"]


def write(folder: Path, lines: list[str], stored: np.ndarray, *, name: str = "r", offset: int = 0) -> Path:
    """Write a header as it stands and samples (time, lead) as they are."""
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")
    (folder / f"{name}.dat").write_bytes(b"\0" * offset + stored.astype("<i2").tobytes())
    return folder / f"{name}.hea"


def by_wfdb(path: Path) -> np.ndarray:
    return wfdb.rdsamp(str(path.with_suffix("")))[0].T


@pytest.fixture
def stored() -> np.ndarray:
    return np.random.default_rng(0).integers(-3000, 3000, (500, 3))


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # of pandas, to wfdb's writer
def test_equals_wfdb_for_a_record_that_wfdb_wrote(tmp_path: Path) -> None:
    ecg = np.random.default_rng(1).normal(0, 0.5, (700, 12)).cumsum(axis=0) / 20
    wfdb.wrsamp("w", 500, ["mV"] * 12, LEADS, p_signal=ecg, fmt=["16"] * 12, write_dir=str(tmp_path))
    header = read_header(tmp_path / "w")
    assert header.plain and header.hertz == 500 and header.samples == 700
    got, leads = read_plain(header, verify=True)
    assert got.dtype == np.float32 and got.flags.c_contiguous and leads[3] == "aVR"
    np.testing.assert_allclose(got, by_wfdb(header.path), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "signal",
    [
        "16 1000.0(0)/mV 16 0",
        "16 1716(6)/mV 0 0",  # a baseline of its own, as in LUDB
        "16 200 12 1024",  # no baseline: the ADC zero is it; no unit: mV
        "16 0 12 0",  # gain 0: 200
        "16 -500.5(-17)/mV 16 3",
        "16 1e3(5)/mV 16 0",
        "16",  # nothing but the format
    ],
)
def test_equals_wfdb_for_every_way_to_state_a_gain(tmp_path: Path, stored: np.ndarray, signal: str) -> None:
    tail = " 0 0 0" if len(signal.split()) == 4 else ""
    names = ["I", "V2", "aVF"] if tail else ["", "", ""]
    header = ["r 3 250 500", *(f"r.dat {signal}{tail} {name}".rstrip() for name in names)]
    path = write(tmp_path, header, stored)
    if not tail:  # without a description there is no lead to find
        with pytest.raises(ValueError, match="none of its leads"):
            read_plain(read_header(path))
        return
    np.testing.assert_allclose(read_plain(read_header(path))[0], by_wfdb(path), rtol=1e-6, atol=1e-6)


def test_skips_the_bytes_before_the_samples(tmp_path: Path, stored: np.ndarray) -> None:
    lines = ["r 3 250 500", *(f"r.dat 16+24 1000/mV 16 0 0 0 0 {name}" for name in ("I", "II", "V1"))]
    path = write(tmp_path, lines, stored, offset=24)
    np.testing.assert_allclose(read_plain(read_header(path))[0], stored.T / 1000, atol=1e-6)
    np.testing.assert_allclose(read_plain(read_header(path))[0], by_wfdb(path), atol=1e-6)


def test_lost_samples_are_nan_where_wfdb_has_them(tmp_path: Path, stored: np.ndarray) -> None:
    stored[10:20, 1] = -32768
    lines = ["r 3 250 500", *(f"r.dat 16 1000(7)/mV 16 0 0 0 0 {name}" for name in ("I", "II", "V1"))]
    got, _ = read_plain(read_header(write(tmp_path, lines, stored)))
    assert np.isnan(got).sum() == 10 and np.isnan(got[1, 10:20]).all()
    np.testing.assert_allclose(got, by_wfdb(tmp_path / "r.hea"), atol=1e-6)


@pytest.mark.parametrize(("unit", "factor"), [("mV", 1), ("uV", 1e-3), ("µV", 1e-3), ("V", 1e3), ("mv", 1)])
def test_every_unit_comes_out_in_millivolts(
    tmp_path: Path, stored: np.ndarray, unit: str, factor: float
) -> None:
    lines = ["r 3 250 500", *(f"r.dat 16 2(0)/{unit} 16 0 0 0 0 {name}" for name in ("I", "II", "V1"))]
    got, _ = read_plain(read_header(write(tmp_path, lines, stored)))
    np.testing.assert_allclose(got, stored.T / 2 * factor, rtol=1e-6)
    assert millivolts(unit) == factor


def test_other_signals_are_left_out_and_their_unit_does_not_matter(
    tmp_path: Path, stored: np.ndarray
) -> None:
    names = ("ABP", "V5", "Lead I")
    units = ("mmHg", "mV", "uV")
    lines = [f"r.dat 16 10/{unit} 16 0 0 0 0 {name}" for name, unit in zip(names, units, strict=True)]
    got, leads = read_plain(read_header(write(tmp_path, ["r 3 250 500", *lines], stored)))
    assert leads == ("V5", "I")
    np.testing.assert_allclose(got, np.stack([stored[:, 1] / 10, stored[:, 2] / 10_000]), rtol=1e-6)


def test_the_length_may_be_left_to_the_file(tmp_path: Path, stored: np.ndarray) -> None:
    lines = ["r 3 360", *(f"r.dat 16 200 12 0 0 0 0 {name}" for name in ("I", "II", "V1"))]
    assert read_plain(read_header(write(tmp_path, lines, stored)))[0].shape == (3, 500)


def test_a_wrong_checksum_is_found_when_asked_for(tmp_path: Path, stored: np.ndarray) -> None:
    sums = [int(x) for x in stored.astype(np.int16).sum(axis=0, dtype=np.int16)]
    lines = [f"r.dat 16 200 12 0 0 {s % 65536} 0 {n}" for n, s in zip(("I", "II", "V1"), sums, strict=True)]
    path = write(tmp_path, ["r 3 250 500", *lines], stored)
    read_plain(read_header(path), verify=True)
    stored[3, 1] += 1
    write(tmp_path, ["r 3 250 500", *lines], stored)
    read_plain(read_header(path))
    with pytest.raises(ValueError, match=r"r\.hea: damaged samples, the checksum of lead II"):
        read_plain(read_header(path), verify=True)


def simple(samples: int = 500) -> list[str]:
    return [f"r 3 250 {samples}", *(f"r.dat 16 1000/mV 16 0 0 0 0 {name}" for name in ("I", "II", "V1"))]


def test_says_what_is_wrong_with_a_file_of_samples(tmp_path: Path, stored: np.ndarray) -> None:
    path, data = write(tmp_path, simple(), stored), tmp_path / "r.dat"
    write(tmp_path, simple(501), stored)
    with pytest.raises(ValueError, match=r"r\.dat: cut short, it holds 500 of the 501 samples"):
        read_plain(read_header(path))
    data.write_text("I,II,V1\n" * 1000)
    with pytest.raises(ValueError, match=r"r\.dat: holds text, not samples"):
        read_plain(read_header(path))
    data.write_bytes(b"")
    with pytest.raises(ValueError, match=r"r\.dat: is empty"):
        read_plain(read_header(path))
    data.unlink()
    with pytest.raises(ValueError, match=r"r\.dat: cannot read the signals \(No such file"):
        read_plain(read_header(path))
    data.mkdir()
    with pytest.raises(ValueError, match=r"r\.dat: cannot read the signals"):
        read_plain(read_header(path))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "it is empty"),
        (b"\x89PNG\0\0", "binary data"),
        (b"# only a comment\n", "it is empty"),
        (b"hello world\n", "not a WFDB header"),
        (b"r 12 500 5000\nr.dat 16 1000 16 0 0 0 0 I\n", "says 12 signals, the lines below are 1"),
        (b"r 1 0 5000\nr.dat 16 1000 16 0 0 0 0 I\n", "0 samples per second"),
        (b"r 1 500 5000\nr.dat sixteen 1000 16 0 0 0 0 I\n", "signal format 'sixteen'"),
        (b"r 1 500 5000\nr.dat 16 x/mV 16 0 0 0 0 I\n", "gain 'x/mV'"),
        (b"r 1 500 5000\nr.dat\n", "not a WFDB header"),
    ],
)
def test_refuses_what_is_no_header_in_one_line(tmp_path: Path, text: bytes, reason: str) -> None:
    (tmp_path / "r.hea").write_bytes(text)
    with pytest.raises(ValueError, match=reason) as caught:
        read_header(tmp_path / "r.hea")
    assert str(tmp_path / "r.hea") in str(caught.value) and "\n" not in str(caught.value)


def test_refuses_an_ecg_that_is_no_voltage(tmp_path: Path, stored: np.ndarray) -> None:
    lines = [line.replace("/mV", "/mmHg") for line in simple()]
    with pytest.raises(ValueError, match="lead I is in 'mmHg', which is no unit of voltage"):
        read_plain(read_header(write(tmp_path, lines, stored)))


@pytest.mark.parametrize("word", ["212", "16x2", "16:3", "80"])
def test_knows_what_is_not_plain(tmp_path: Path, stored: np.ndarray, word: str) -> None:
    lines = [line.replace(" 16 1000", f" {word} 1000") for line in simple()]
    assert not read_header(write(tmp_path, lines, stored)).plain
    assert read_header(write(tmp_path, simple(), stored)).plain


def test_several_files_or_segments_are_not_plain(tmp_path: Path) -> None:
    lines = simple()
    lines[2] = lines[2].replace("r.dat", "other.dat")
    (tmp_path / "r.hea").write_text("\n".join(lines))
    assert not read_header(tmp_path / "r.hea").plain
    (tmp_path / "r.hea").write_text("r/2 3 250 1000\nr_1 500\nr_2 500\n")
    assert not read_header(tmp_path / "r.hea").plain


@pytest.mark.data
def test_equals_wfdb_on_real_records(data: Path) -> None:
    headers = sorted(data.rglob("*.hea"))
    for path in headers[:: max(1, len(headers) // 40)]:
        got, _ = read_plain(read_header(path), verify=True)
        np.testing.assert_allclose(got, by_wfdb(path), rtol=0, atol=2e-6)


def test_needs_no_working_directory(tmp_path: Path, stored: np.ndarray) -> None:
    path = write(tmp_path, simple(), stored)
    relative = Path(os.path.relpath(path))
    np.testing.assert_array_equal(read_plain(read_header(relative))[0], read_plain(read_header(path))[0])


@pytest.mark.parametrize("samples", [10**13, 10**30])
def test_a_header_that_promises_too_much_is_one_reason(
    tmp_path: Path, stored: np.ndarray, samples: int
) -> None:
    header = read_header(write(tmp_path, simple(samples), stored))
    with pytest.raises(ValueError, match=f"cut short, it holds 500 of the {samples:,} samples"):
        read_plain(header)


def test_bytes_to_skip_beyond_the_file_leave_nothing(tmp_path: Path, stored: np.ndarray) -> None:
    lines = [line.replace(" 16 1000", f" 16+{10**30} 1000") for line in simple()]
    with pytest.raises(ValueError, match="is empty"):
        read_plain(read_header(write(tmp_path, lines, stored)))


@pytest.mark.parametrize("file", ["../r.dat", "/etc/passwd", "sub/r.dat", "..\\r.dat", ".."])
def test_signals_lie_in_the_folder_of_their_header(tmp_path: Path, stored: np.ndarray, file: str) -> None:
    path = write(tmp_path, [line.replace("r.dat", file) for line in simple()], stored)
    with pytest.raises(ValueError, match="is not a name in its own folder"):
        read_header(path)


def test_an_endless_baseline_is_refused(tmp_path: Path, stored: np.ndarray) -> None:
    for baseline in (10**12, 10**400):
        path = write(tmp_path, [line.replace("1000/", f"1000({baseline})/") for line in simple()], stored)
        with pytest.raises(ValueError, match="not a WFDB header"):
            read_header(path)
