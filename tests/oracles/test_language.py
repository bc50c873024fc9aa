"""Cleaning, reading and showing reports, and the prompt bank: worked examples and properties."""

import sys
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from einthoven.language.lexicon import lexicon
from einthoven.language.normalise import normalise
from einthoven.language.prompts import prompts
from einthoven.language.reading import LONGEST, read_report
from einthoven.language.views import named, seen

SUPERCLASSES = ("CD", "HYP", "MI", "NORM", "STTC")
SUBCLASSES = {  # of PTB-XL, which the lexicon knows by what they hold
    "ISCA": {"ISCAL", "ISCAN", "ISCAS", "ISCLA"},
    "ISCI": {"ISCIL", "ISCIN"},
    "LAFB/LPFB": {"LAFB", "LPFB"},
    "_AVB": {"1AVB", "2AVB", "3AVB"},
}


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("", ""),
        (" \t\n ", ""),
        ("SINUS  Rhythm.\r\n  Normal   ECG. ", "sinus rhythm. normal ecg."),
        (
            "fÖrmaksflimmer mÖglich unvollstÄndig ÜberdrehtER",
            "förmaksflimmer möglich unvollständig überdrehter",
        ),
        ("InfarktgrÃ¶ÃŸe mÃ¤Ãig vÃ„nster Ã¥lder", "infarktgröße mäãig vänster ålder"),
        ("Amplitudenkriterien f#r LVH, r-s #bergang", "amplitudenkriterien für lvh, r-s übergang"),
        ("linkstyp 4.46      unbestÄtigter bericht", "linkstyp"),
        ("linkstyp 4.46      unbestÄti", "linkstyp"),
        ("linkstyp unbestaetigter Bericht", "linkstyp"),
        ("infarkt alter unbest. linkstyp", "infarkt alter unbest. linkstyp"),
        ("normales ekg 4.46 unbestÄtigter bericht Edit: NORM 100, (NDT)", "normales ekg"),
        ("linkstyp EDIT: NORM 100", "linkstyp"),
        ("sinusrytmconsensus label derived from: {'ndt': 100.0}", "sinusrytm"),
        ("a\x00b\x07c", "a b c"),
        ("li\u00adnks\u200btyp\ufeff", "linkstyp"),
        ("linksty\ud800p", "linkstyp"),
        ("sinusrytm ó¿ ó¬ ischemi", "sinusrytm ischemi"),
        ("o\u0308 A\u030a", "ö å"),
        (
            "ST-Senkung 0.15 unbedeutend, alter Hinterwandinfarkt",
            "st-senkung 0.15 unbedeutend, alter hinterwandinfarkt",
        ),
        ("Frequenz 1.5 unbekannt. Linksschenkelblock", "frequenz 1.5 unbekannt. linksschenkelblock"),
        ("linkstyp 4.46 unb 4.46 unbestae Edit: NORM 100", "linkstyp"),
        ("f#runbestaetigt", "für"),
    ],
)
def test_worked_examples_of_normalising(raw: str, clean: str) -> None:
    assert normalise(raw) == clean


def pieces() -> list[str]:
    words = "4.46 2.1 unbestätigter unbe bericht Edit: consensus label ó ¬ © Ã ¤ ã \x84 f # #bergang r É"
    return [
        *words.split(" "),
        "f#r",
        " 2.12 unb",
        " ",
        "\u200b",
        "\x00",
        "e",
        "dit:",
        "ü",
        "uE",
        "\u0308",
        ".",
        "Σ",
        "İ",
    ]


def test_normalising_twice_changes_nothing_more() -> None:
    rng = np.random.default_rng(0)
    for size in (2, 3, 5, 9):
        for _ in range(1500):
            text = "".join(rng.choice(pieces(), size))
            once = normalise(text)
            assert normalise(once) == once, repr(text)


def test_every_character_is_normalised_for_good() -> None:
    for number in range(0, sys.maxunicode, 331):
        once = normalise(f"a{chr(number)}b {chr(number)}")
        assert normalise(once) == once, hex(number)
        assert not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in once)


def test_long_texts_are_normalised() -> None:
    """A rule that costs the square of the length would take minutes here."""
    for text in ("4.46 ", "4.46 unb ", "unbestätigter ", "ó ", "a ", "edit ", "4.46 unbestätigter bericht "):
        once = normalise(text * (200_000 // len(text)))
        assert normalise(once) == once


@pytest.mark.parametrize(
    ("raw", "status", "provenance", "language"),
    [
        ("", "empty", "human", "unknown"),
        (" .. !", "empty", "human", "unknown"),
        ("TRACE ONLY requested.", "trace only", "human", "en"),
        ("trace only", "trace only", "human", "en"),
        ("trace only requested. sinus rhythm.", "ok", "human", "en"),
        ("Sinus rhythm. Normal ECG.", "ok", "human", "en"),
        ("Sinusrhythmus Lagetyp normal 4.46   unbestÄtigter bericht", "ok", "automatic", "de"),
        ("Sinusrhythmus Edit: NORM 100", "ok", "edited", "de"),
        ("linkstyp 4.46 unbestÄtigter bericht Edit: NORM 100", "ok", "edited", "de"),
        ("Sinusrytm vänster el-axel eljest normalt ekg", "ok", "human", "sv"),
        ("Vorhofflimmern mit Linksschenkelblock", "ok", "human", "de"),
        ("Inferior infarct cannot be excluded", "ok", "human", "en"),
        ("förmaksflimmer, inferior infarkt bör övervägas", "ok", "human", "sv"),
        ("洞調律 異常なし", "ok", "human", "unknown"),
        ("ritmo sinusale", "ok", "human", "unknown"),
    ],
)
def test_worked_examples_of_reading(raw: str, status: str, provenance: str, language: str) -> None:
    report = read_report(raw)
    assert (report.status, report.provenance, report.language) == (status, provenance, language)
    assert report.raw == raw and report.text == normalise(raw)


@pytest.mark.parametrize(
    ("raw", "statements"),
    [
        ("Sinus rhythm. Left axis deviation. Old inferior infarct, age undetermined.", 3),
        ("sinusrhythmus linkstyp unvollständiger rechtsschenkelblock sonst normales ekg", 4),
        ("sinusrhythmus inferiorer infarkt alter unbest. septaler infarkt möglich", 3),
        ("sinusrytm vänster el-axel st-t sänkning, såsom vid lateral ischemi eller vänster belastning", 3),
        ("Sinusrhythmus, V.a. inferioren Infarkt", 1),
        ("st & t abnorm, wahrscheinlich laterale ischämie oder linksbelastung linkstyp", 2),
        ("ganz und gar unbekannt", 1),
        ("", 0),
        ("trace only requested.", 0),
    ],
)
def test_statements(raw: str, statements: int) -> None:
    report = read_report(raw)
    assert len(report.statements) == statements
    assert " ".join(report.statements) == (report.text if statements else "")


def test_a_report_of_a_hundred_kilobytes_is_cut() -> None:
    report = read_report("Sinusrhythmus Linkstyp. " * 5000)
    assert len(report.raw) == 120_000 and 0 < len(report.text) <= LONGEST and report.language == "de"
    lexicon()
    assert len(read_report("\x00kein Infarkt " * 10_000).text) <= LONGEST


def cohort() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "age": [63.4, np.nan, 90.0],
            "sex": ["female", None, "male"],
            "height": [165.0, np.nan, np.nan],
            "weight": pd.array([70, None, None], dtype="Int64"),
            "pacemaker": ["ja, pacemaker", None, "nein"],
            "site": ["secret clinic"] * 3,
            "device": ["secret device"] * 3,
            "nurse": ["secret nurse"] * 3,
            "report": ["SinusRHYTHMUS Linkstyp, Xylofon", None, "trace only requested."],
        }
    )


def test_what_each_view_shows() -> None:
    records = cohort()
    assert seen(records, "none") == ("", "", "")
    assert seen(records, "full") == ("sinusrhythmus linkstyp, xylofon", "", "")
    assert seen(records, "masked") == ("xylofon", "", "")
    first = "63 years old, female, 165 cm tall, 70 kg, with a pacemaker"
    assert seen(records, "context") == (first, "", "90 years old, male, without a pacemaker")


def test_the_masked_view_shows_no_code_and_no_label_of_a_task() -> None:
    reports = ["Xylofon IMI 80, NORM 0 (LAFB/LPFB) sttc. Prc(s)", "[label a-1], label b"]
    records = pd.DataFrame(
        {"report": reports, "task": [np.array(["STTC", "Label a-1"], dtype=object), []], "fold": [1, 2]}
    )
    assert seen(records, "masked") == ("xylofon 80, 0", "label b")


def test_the_context_does_not_say_what_a_column_does_not() -> None:
    columns = {
        "age": ["?", 0.0, -1.0, 44],
        "height": ["180 cm", "inf", "170", np.inf],
        "pacemaker": ["", "nein", "", ""],
    }
    told = ("", "without a pacemaker", "170 cm tall", "44 years old")
    assert seen(pd.DataFrame(columns), "context") == told


def test_the_context_never_depends_on_site_device_nurse_or_report() -> None:
    records = cohort()
    before = seen(records, "context")
    for name in ("site", "device", "nurse", "report"):
        assert seen(records.assign(**{name: "changed"}), "context") == before
        assert seen(records.drop(columns=name), "context") == before


def test_records_without_columns_have_no_context_and_without_reports_one_line_says_so() -> None:
    bare = pd.DataFrame(index=range(2))
    assert seen(bare, "context") == ("", "") and seen(bare, "none") == ("", "")
    for view in ("masked", "full"):
        with pytest.raises(ValueError, match=r"^The view .* no column report: .*$"):
            seen(bare, view)  # type: ignore[arg-type]
    assert seen(pd.DataFrame({"report": ["", None, np.nan, pd.NA]}), "full") == ("",) * 4


def test_the_bank_has_prompts_for_the_superclasses_and_thirty_statements() -> None:
    bank = prompts()
    assert bank.version and set(SUPERCLASSES) <= set(bank.classes) and len(bank.classes) >= 35
    for label in bank.classes:
        for language in ("en", "de", "sv"):
            said = bank.of(label, language)
            assert len(said.positive) >= 2 and len(said.negative) >= 2
            assert not set(said.positive) & set(said.negative)
            assert all(text == normalise(text) for text in (*said.positive, *said.negative))
        assert bank.of(label).positive[: len(bank.of(label, "en").positive)] == bank.of(label, "en").positive


def test_the_lexicon_agrees_with_every_prompt_of_a_statement() -> None:
    bank = prompts()
    for label in set(bank.classes) - {"CD", "HYP", "MI", "STTC"}:
        said, meant = bank.of(label), SUBCLASSES.get(label, {label})
        codes = [
            [
                {code for f in lexicon().find(text) if f.polarity != "absent" for code in f.codes}
                for text in texts
            ]
            for texts in (said.positive, said.negative)
        ]
        assert all(meant & found for found in codes[0]), label
        assert not any(meant & found for found in codes[1]), label


@pytest.mark.parametrize(
    ("label", "other"),
    [
        ("CLBBB", "CRBBB"),
        ("IRBBB", "CRBBB"),
        ("IMI", "ASMI"),
        ("LVH", "RVH"),
        ("LAO/LAE", "RAO/RAE"),
        ("SBRAD", "STACH"),
        ("STD_", "STE_"),
        ("ISCA", "ISCI"),
    ],
)
@pytest.mark.parametrize("language", ["en", "de", "sv"])
def test_a_class_is_told_from_its_neighbour(label: str, other: str, language: str) -> None:
    bank = prompts()
    for one, two in ((label, other), (other, label)):
        assert set(bank.of(one, language).negative) >= set(bank.of(two, language).positive)


def test_every_diagnosis_subclass_and_rhythm_of_ptb_xl_has_prompts() -> None:
    named = {code for entry in lexicon().entries for code in entry.codes} | {*SUPERCLASSES, *SUBCLASSES}
    assert named <= set(prompts().classes)


GOOD = '[class."my label".en]\npositive = ["Is THERE"]\nnegative = ["is not"]\n'


def test_a_bank_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'version = "7"\n{GOOD}', encoding="utf-8")
    bank = prompts(path)
    assert (bank.version, bank.classes) == ("7", ("my label",))
    assert bank.of("my label", "en") == bank.of("my label") == (("is there",), ("is not",))
    for label, language, word in (("XYZ", None, "XYZ"), ("my label", "sv", "in sv")):
        with pytest.raises(ValueError, match=r"^[^\n]*mine\.toml has no prompts for [^\n]*$") as told:
            bank.of(label, language)
        assert word in str(told.value)


@pytest.mark.parametrize(
    "text",
    [
        "version = ",
        GOOD,
        'version = "1"',
        'version = "1"\nclass = 3',
        'version = "1"\n[class.MI]',
        'version = "1"\n[class.MI.en]\npositive = ["a"]',
        'version = "1"\n[class.MI.en]\npositive = []\nnegative = ["b"]',
        'version = "1"\n[class.MI.en]\npositive = ["a", ""]\nnegative = ["b"]',
        'version = "1"\n[class.MI.en]\npositive = "a"\nnegative = ["b"]',
        'version = "1"\n[class.MI]\nen = 4',
        "\xff\xfe",
    ],
)
def test_a_bad_bank_is_told_in_one_line_that_names_the_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"^[^\n]*mine\.toml [^\n]*$"):
        prompts(path)


def test_a_missing_bank_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*none\.toml cannot be read: [^\n]*$"):
        prompts(tmp_path / "none.toml")


def test_a_view_that_is_none_of_the_four_is_refused() -> None:
    assert named("masked") == "masked"
    with pytest.raises(ValueError, match=r"No view 'mask' of a report\. Known: .*Did you mean 'masked'\?"):
        named("mask")
