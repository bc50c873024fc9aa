"""A drawn ECG, measured with a ruler: 25 mm a second, 10 mm a millivolt, every lead in its place."""

import itertools
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from cohorts import heartbeat
from einthoven.ecg import LEADS
from einthoven.report import draw
from einthoven.report.svg import escape, polyline, short, ticks

STEP = re.compile(r"-?(?:\d+\.?\d*|\.\d+)")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def ecg() -> np.ndarray:
    return heartbeat(np.random.default_rng(0))


def read(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def corners(d: str) -> list[np.ndarray]:
    """Follow a path of M, l, h and v; return the points of each stroke."""
    strokes, at = [], np.zeros(2)
    for letter, words in re.findall(r"([Mlhv])([^Mlhv]*)", d):
        numbers = [float(n) for n in STEP.findall(words)]
        if letter == "M":
            at = np.array(numbers)
            strokes.append([at])
            continue
        steps = {"l": zip(numbers[::2], numbers[1::2], strict=False), "h": [(n, 0.0) for n in numbers]}
        steps["v"] = [(0.0, n) for n in numbers]
        for step in steps[letter]:
            at = at + step
            strokes[-1].append(at)
    return [np.array(stroke) for stroke in strokes]


def paths(svg: str, kind: str) -> list[ElementTree.Element]:
    return read(svg).findall(f".//{SVG}path[@class='{kind}']")


def traced(path: ElementTree.Element, hertz: float, first: int, samples: int, left: float) -> np.ndarray:
    """Read millivolts back from the paper, at each sample's place."""
    (line,) = corners(path.attrib["d"])
    x = left + np.arange(samples) / hertz * 25
    assert line[0, 0] == pytest.approx(x[0], abs=0.006)
    assert line[-1, 0] == pytest.approx(x[-1], abs=0.006)
    return (float(path.attrib["data-zero"]) - np.interp(x, line[:, 0], line[:, 1])) / 10


@pytest.mark.parametrize("hertz", [100.0, 500.0, 360.0])
def test_a_ruler_on_the_paper_gives_the_signal_back(hertz: float) -> None:
    signal = heartbeat(np.random.default_rng(1), hertz)
    lines = {}
    for path in paths(draw.ecg_svg(signal, hertz), "trace"):
        lines.setdefault(path.attrib["data-lead"], []).append(path)
    assert set(lines) == set(LEADS)
    quarter = round(2.5 * hertz)
    slack = 0.002 + 0.004 * np.abs(np.diff(signal)).max() * hertz / 25  # a rounded x on the steepest slope
    for column, row in itertools.product(range(4), draw.ROWS):
        first = column * quarter
        seen = traced(lines[row[column]][0], hertz, first, quarter, 15 + 62.5 * column)
        np.testing.assert_allclose(
            seen, signal[LEADS.index(row[column]), first : first + quarter], atol=slack
        )
    strip = traced(lines["II"][1], hertz, 0, round(10 * hertz), 15)
    np.testing.assert_allclose(strip, signal[1, : round(10 * hertz)], atol=slack)


def test_the_sheet_is_in_millimetres(ecg: np.ndarray) -> None:
    svg = read(draw.ecg_svg(ecg, 100.0))
    _, _, width, height = map(float, svg.attrib["viewBox"].split())
    assert (svg.attrib["width"], svg.attrib["height"]) == (f"{width:g}mm", f"{height:g}mm")
    assert width <= 277 and height <= 190  # A4 across, with margins
    thin, thick = (
        corners(paths(draw.ecg_svg(ecg, 100.0), kind)[0].attrib["d"]) for kind in ("thin", "thick")
    )
    upright = sorted({line[0, 0] for line in thin + thick if line[0, 0] == line[1, 0]})
    np.testing.assert_array_equal(np.diff(upright), 1)
    np.testing.assert_array_equal(
        np.diff(sorted({line[0, 0] for line in thick if line[0, 0] == line[1, 0]})), 5
    )


def test_the_pulse_is_one_millivolt_for_200_ms_on_each_row(ecg: np.ndarray) -> None:
    svg = draw.ecg_svg(ecg, 100.0)
    zeros = sorted({float(path.attrib["data-zero"]) for path in paths(svg, "trace")})
    pulses = [corners(path.attrib["d"])[0] for path in paths(svg, "pulse")]
    assert sorted(p[0, 1] for p in pulses) == zeros and len(zeros) == 4
    for pulse in pulses:
        assert np.ptp(pulse[:, 1]) == 10  # 1 mV
        top = pulse[pulse[:, 1] == pulse[:, 1].min()]
        assert np.ptp(top[:, 0]) == 0.2 * 25
        assert pulse[:, 0].max() < 15


def test_leads_stand_where_a_cardiologist_looks(ecg: np.ndarray) -> None:
    texts = read(draw.ecg_svg(ecg, 100.0)).iter(f"{SVG}text")
    leads = [text for text in texts if text.attrib.get("class") == "lead-name"]
    names = [(float(text.attrib["y"]), float(text.attrib["x"]), text.text) for text in leads]
    by_column = [name for _, _, name in sorted(names, key=lambda n: (n[1], n[0]))]
    assert by_column == ["I", "II", "III", "II", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]


def test_the_words_tell_speed_gain_rate_and_whose(ecg: np.ndarray) -> None:
    svg = draw.ecg_svg(ecg, 100.0, title='<b> & "7"', stamp="MADE-UP ECG", note="0.5–40 Hz")
    words = " ".join(t.text or "" for t in read(svg).iter(f"{SVG}text"))
    for said in ("25 mm/s", "10 mm/mV", "100 Hz", "0.5–40 Hz", "10.0 s", "MADE-UP ECG", '<b> & "7"'):
        assert said in words
    assert read(svg).attrib["role"] == "img" and read(svg).attrib["aria-label"] == '12-lead ECG, <b> & "7"'


def test_gaps_stay_gaps_and_flat_or_missing_leads_are_named(ecg: np.ndarray) -> None:
    ecg[0, 100:120] = np.nan  # a hole in I
    ecg[6], ecg[7] = np.nan, 0.0  # V1 was not recorded, V2 is flat
    svg = draw.ecg_svg(ecg, 100.0)
    lines = {path.attrib["data-lead"]: corners(path.attrib["d"]) for path in paths(svg, "trace")}
    before, after = lines["I"]
    assert before[-1, 0] == pytest.approx(15 + 0.99 * 25, abs=0.01)
    assert after[0, 0] == pytest.approx(15 + 1.2 * 25, abs=0.01)
    assert svg.count("not recorded") == 1 and svg.count(">flat<") == 1
    few = draw.ecg_svg(ecg[[0, 1]], 100.0, leads=("I", "II"))
    assert few.count("not recorded") == 10


def test_a_short_ecg_shows_the_same_seconds_in_every_lead() -> None:
    signal = heartbeat(np.random.default_rng(2), seconds=3.0)
    svg = draw.ecg_svg(signal, 100.0)
    assert "only 3.0 s: every lead from 0 s" in svg
    v4 = next(path for path in paths(svg, "trace") if path.attrib["data-lead"] == "V4")
    np.testing.assert_allclose(traced(v4, 100.0, 0, 250, 15 + 187.5), signal[9, :250], atol=0.002)
    strip = paths(svg, "trace")[-1]
    np.testing.assert_allclose(traced(strip, 100.0, 0, 300, 15), signal[1], atol=0.002)
    assert "M" in draw.ecg_svg(signal[:, :1], 100.0)  # one sample is a dot, none is nothing
    assert draw.ecg_svg(signal[:, :0], 100.0).count("not recorded") == 13


def test_a_long_ecg_says_that_it_goes_on() -> None:
    signal = heartbeat(np.random.default_rng(2), seconds=30.0)
    svg = draw.ecg_svg(signal, 100.0)
    assert "first 10 s of 30.0 s" in svg
    assert max(corners(path.attrib["d"])[0][:, 0].max() for path in paths(svg, "trace")) < 265.01


def test_rows_move_apart_for_tall_waves_and_never_off_the_page(ecg: np.ndarray) -> None:
    usual, tall = draw.sheet(ecg, 100.0), draw.sheet(ecg * 50, 100.0)
    assert np.diff(usual.baselines).min() >= 15 and all(y % 5 == 0 for y in usual.baselines + tall.baselines)
    assert np.diff(tall.baselines).min() > np.diff(usual.baselines).min()
    assert tall.height <= 175  # with its caption, one A4 page across
    assert "cut at the edge" in tall.foot and "cut at the edge" not in usual.foot
    lone = np.zeros((12, 1000), np.float32)
    lone[9, 800] = 2.3  # a tall R wave in V4, in the first row
    assert "cut at the edge" not in draw.sheet(lone, 100.0).foot


def test_a_wrong_number_of_names_is_refused(ecg: np.ndarray) -> None:
    with pytest.raises(ValueError, match="12 leads cannot be drawn with 8 names"):
        draw.ecg_svg(ecg, 100.0, leads=LEADS[:8])


def test_saves_svg_and_png(ecg: np.ndarray, tmp_path: Path) -> None:
    svg = draw.save(tmp_path / "a.svg", ecg, 100.0, title="A")
    assert read(svg.read_text(encoding="utf-8")).tag == f"{SVG}svg"
    png = draw.save(tmp_path / "a.png", ecg, 100.0).read_bytes()
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    assert width == pytest.approx(270 / 25.4 * 150, abs=1)
    assert height == pytest.approx(draw.sheet(ecg, 100.0).height / 25.4 * 150, abs=1)
    with pytest.raises(ValueError, match=r"drawn as \.svg or \.png"):
        draw.save(tmp_path / "a.pdf", ecg, 100.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.svg"]


@pytest.mark.parametrize("places", [0, 1, 2])
def test_rounding_does_not_add_up_along_a_line(places: int) -> None:
    points = np.random.default_rng(3).normal(0, 3, (4000, 2)).cumsum(axis=0)
    (line,) = corners(polyline(points, places))
    rounded = {(round(x, places) + 0.0, round(y, places) + 0.0) for x, y in points.tolist()}
    assert {(round(x, places) + 0.0, round(y, places) + 0.0) for x, y in line.tolist()} <= rounded
    np.testing.assert_allclose(line[[0, -1]], np.round(points[[0, -1]], places), atol=1e-6)
    assert len(line) > 3900  # only steps that repeat the one before are merged


def test_straight_stretches_are_one_step() -> None:
    assert polyline(np.array([[0.0, 0], [1, 1], [2, 2], [3, 2], [4, 2]])) == "M0 0l2 2 2 0"


def test_numbers_escape_and_ticks() -> None:
    assert [short(n) for n in (0.0, -0.0, 10.0, 100.0, -0.05, 1.5)] == ["0", "0", "10", "100", "-.05", "1.5"]
    assert float(short(1 / 3)) == pytest.approx(1 / 3, abs=0.005)
    assert escape("a\x00\x0b<") == "a&lt;"
    for low, high in ((0.0, 1.0), (-3.2, 7.7), (0.901, 0.934), (0, 31416)):
        marks = ticks(low, high)
        assert low <= marks[0] and marks[-1] <= high and 2 <= len(marks) <= 7
        assert np.ptp(np.diff(marks)) < 1e-9 * (high - low)


def test_drawing_loads_neither_torch_nor_matplotlib() -> None:
    told = "import sys, einthoven.report.draw as d; print({'torch', 'matplotlib', 'pandas'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
