"""The lexicon against sentences whose meaning was written down by hand, and against properties."""

import itertools
import re

import numpy as np
import pytest

from einthoven.data.synthesis.reports import ABSENT, WORDINGS
from einthoven.language.lexicon import Finding, lexicon
from einthoven.language.normalise import normalise
from einthoven.language.surface import Forms, spellings

CODES = [
    (code, phrase)
    for words in WORDINGS.values()
    for code, many in words.statements.items()
    for phrase in many
]


def said(text: str) -> set[tuple[str, str]]:
    return {(finding.concept, finding.polarity) for finding in lexicon().find(text)}


def coded(text: str, code: str) -> set[str]:
    return {finding.polarity for finding in lexicon().find(text) if code in finding.codes}


@pytest.mark.parametrize(
    ("text", "found"),  # + present, - absent, ? uncertain
    [
        ("Sinusrhythmus. Normales EKG.", "+normal ECG; +sinus rhythm"),
        ("Sinusrhythmus Linkstyp sonst normales EKG", "+left axis; +otherwise normal ECG; +sinus rhythm"),
        ("Kein Hinweis auf Infarkt", "-myocardial infarction"),
        ("Keine Ischämie, keine Linkshypertrophie", "-ischaemia; -left ventricular hypertrophy"),
        ("Kein Infarkt oder Ischämie", "-ischaemia; -myocardial infarction"),
        ("Kein Infarkt. Vorhofflimmern", "+atrial fibrillation; -myocardial infarction"),
        ("Linkshypertrophie möglich", "?left ventricular hypertrophy"),
        (
            "Linksschenkelblock Linkshypertrophie moeglich",
            "+left bundle branch block; ?left ventricular hypertrophy",
        ),
        ("V.a. inferioren Infarkt", "?inferior infarct"),
        ("septaler Infarkt nicht auszuschließen", "?septal infarct"),
        ("lateraler Infarkt, Alter unbestimmt, nicht auszuschliessen", "+age undetermined; ?lateral infarct"),
        ("inferiorer Infarkt wahrscheinlich alt", "+inferior infarct; ?old"),
        ("EKG wahrscheinlich normal", "?normal ECG"),
        (
            "ST & T abnorm, wahrscheinlich laterale Ischämie oder Linksbelastung "
            "inferiore Ischämie oder Linksbelastung",
            "+ST and T abnormal; ?inferior ischaemia or strain; ?lateral ischaemia or strain",
        ),
        (
            "möglicherweise WPW Typ B überdrehter Linkstyp",
            "+extreme left axis; ?Wolff-Parkinson-White syndrome",
        ),
        ("No evidence of infarction or ischaemia.", "-ischaemia; -myocardial infarction"),
        (
            "No evidence of recent anterior infarct. Sinus rhythm.",
            "+sinus rhythm; -acute; -anterior infarct",
        ),
        ("No ischaemia, left axis deviation", "+left axis; -ischaemia"),
        ("No infarct, ischaemia or hypertrophy", "-hypertrophy; -ischaemia; -myocardial infarction"),
        ("Sinus rhythm without ST elevation", "+sinus rhythm; -ST elevation"),
        ("Possible left atrial enlargement. Left axis deviation.", "+left axis; ?left atrial enlargement"),
        ("Probable LVH", "?left ventricular hypertrophy"),
        ("Old anteroseptal infarct cannot be excluded", "+old; ?anteroseptal infarct"),
        (
            "This may be due to LV strain or ischaemia and digitalis effect",
            "?digitalis effect; ?ischaemia or strain",
        ),
        ("No definite pathology", "+normal ECG"),
        ("Not significantly changed", "+not changed"),
        ("Possibly no infarct", "-myocardial infarction"),
        ("Sinusrytm, ingen ischemi", "+sinus rhythm; -ischaemia"),
        ("Inga tecken på infarkt", "-myocardial infarction"),
        ("inferior infarkt bör övervägas", "?inferior infarct"),
        ("hög lateral infarkt kan ej uteslutas", "?high lateral infarct"),
        ("misstänkt vänster kammarhypertrofi", "?left ventricular hypertrophy"),
        ("anterior infarkt sannolikt äldre", "+anterior infarct; ?old"),
        # a comma ends a negation and a hedge, but not in a list
        ("Kein Vorhofflimmern, Sinusrhythmus", "+sinus rhythm; -atrial fibrillation"),
        (
            "No left bundle branch block, right bundle branch block",
            "+right bundle branch block; -left bundle branch block",
        ),
        ("No ST elevation, T wave inversion in V2", "+inverted T waves; -ST elevation"),
        ("No anterior infarct, inferior infarct", "+inferior infarct; -anterior infarct"),
        (
            "No acute infarct, old inferior infarct",
            "+inferior infarct; +old; -acute; -myocardial infarction",
        ),
        ("kein alter Infarkt", "-myocardial infarction; -old"),
        ("Recent infarct excluded", "-acute; -myocardial infarction"),
        ("No infarct, old block", "+old; -myocardial infarction"),
        ("No ST elevation in V1, V2 or V3, prolonged QT", "-ST elevation; -prolonged QT"),
        ("No chest pain, old inferior infarct", "+inferior infarct; +old"),
        ("Possible LVH, atrial fibrillation", "+atrial fibrillation; ?left ventricular hypertrophy"),
        (
            "Possible LVH, ischaemia or infarct",
            "?ischaemia; ?left ventricular hypertrophy; ?myocardial infarction",
        ),
        ("Verdacht auf: R-Verlust, Infarkt", "?myocardial infarction; ?poor R progression"),
        ("(fragl. Digitaliseffekt) T neg in V1", "+inverted T waves; ?digitalis effect"),
        ("V.a. (alten) Hinterwandinfarkt", "+old; ?inferior infarct"),
        # doubt and denial behind a finding
        ("Vorhofflimmern: nein", "-atrial fibrillation"),
        ("Förmaksflimmer: nej", "-atrial fibrillation"),
        (
            "Atrial fibrillation: no. Sinus rhythm: no ischaemia",
            "+sinus rhythm; -atrial fibrillation; -ischaemia",
        ),
        ("ST-Senkung: keine, T-Negativierung: keine", "-ST depression; -inverted T waves"),
        ("Vorhofflimmern nicht mehr vorhanden", "-atrial fibrillation"),
        ("Vorhofflimmern liegt nicht vor", "-atrial fibrillation"),
        ("Atrial fibrillation is no longer present", "-atrial fibrillation"),
        ("Keinerlei Ischämiezeichen", "-ischaemia"),
        ("Free of ischaemia", "-ischaemia"),
        ("Infarkt (kann) nicht ausgeschlossen (werden)", "?myocardial infarction"),
        ("Infarkt kann nicht ausgeschlossen werden", "?myocardial infarction"),
        ("Infarkt nicht ausgeschlossen", "?myocardial infarction"),
        ("Infarkt nicht wahrscheinlich", "?myocardial infarction"),
        ("Infarkt unwahrscheinlich", "?myocardial infarction"),
        ("Ischämie fraglich", "?ischaemia"),
        ("fragliche Ischämie", "?ischaemia"),
        ("Infarktverdacht. Ischämieverdacht", "?ischaemia; ?myocardial infarction"),
        ("Infarct has not been excluded", "?myocardial infarction"),
        ("Infarct not ruled out", "?myocardial infarction"),
        ("Infarct possible, atrial fibrillation", "+atrial fibrillation; ?myocardial infarction"),
        ("Infarct probable", "?myocardial infarction"),
        ("Sinus rhythm, possible old inferior infarct", "+old; +sinus rhythm; ?inferior infarct"),
        ("ST depression probably due to digitalis effect", "+ST depression; ?digitalis effect"),
        ("Infarkt? Sinusrhythmus", "+sinus rhythm; ?myocardial infarction"),
        ("(LVH?)", "?left ventricular hypertrophy"),
        ("Infarkt ausgeschlossen", "-myocardial infarction"),
        ("Infarct ruled out", "-myocardial infarction"),
        ("Infarct is ruled out", "-myocardial infarction"),
        ("Infarct has been ruled out", "-myocardial infarction"),
        ("Infarct excluded", "-myocardial infarction"),
        ("Voltage criteria for LVH not met", "-voltage criteria for left ventricular hypertrophy"),
        # whose waves they are, and infarcts by another name
        ("Inverted P waves", "+inverted P waves"),
        ("P waves are inverted, T waves are inverted", "+inverted P waves; +inverted T waves"),
        ("P biphasisch in V1", "+biphasic P waves"),
        ("P flach", "+low P waves"),
        ("STEMI", "+myocardial infarction"),
        ("NSTEMI", "+myocardial infarction"),
        ("Nicht-ST-Hebungsinfarkt", "+myocardial infarction"),
        ("inferiorer ST-Hebungsinfarkt", "+inferior infarct"),
        ("alter Vorderwandinfarkt", "+anterior infarct; +old"),
        ("Infarkt, Alter unbest.", "+age undetermined; +myocardial infarction"),
        ("SISIISIII", "+axis hard to determine"),
        ("outside normal limits", "+abnormal ECG"),
        ("not within normal limits", "-normal ECG"),
    ],
)
def test_sentences_mean_what_they_say(text: str, found: str) -> None:
    signs = {"present": "+", "absent": "-", "uncertain": "?"}
    assert {signs[polarity] + concept for concept, polarity in said(text)} == set(found.split("; "))


@pytest.mark.parametrize(
    ("text", "side", "territory", "codes"),
    [
        ("Linksschenkelblock", "left", "", ("CLBBB",)),
        ("inkompletter Rechtsschenkelblock", "right", "", ("IRBBB",)),
        ("right bundle branch block", "right", "", ("CRBBB",)),
        ("högersidigt skänkelblock", "right", "", ("CRBBB",)),
        ("Vorderwandinfarkt", "", "anterior", ("AMI", "ASMI")),
        ("Hinterwandinfarkt", "", "inferior", ("IMI",)),
        ("Infarkt inferior", "", "inferior", ("IMI",)),
        ("hochlateraler Infarkt", "", "high lateral", ("LMI",)),
        ("antero-septal infarct", "", "anteroseptal", ("ASMI",)),
        ("infero-lateral ischemia", "", "inferolateral", ("ISCIL",)),
        ("P-sinistrocardiale", "left", "", ("LAO/LAE",)),
        ("rechtsventrikulaere Hypertrophie", "right", "", ("RVH",)),
        ("AV-Block I. Grades", "", "", ("1AVB",)),
        ("a-v block iii", "", "", ("3AVB",)),
        ("unvollständiger RSB", "right", "", ("IRBBB",)),
        ("unvollst. Rechtsschenkelblock", "right", "", ("IRBBB",)),
        ("inkompl. Rechtsschenkelblock", "right", "", ("IRBBB",)),
        ("inkompletter rechtsseitiger Schenkelblock", "right", "", ("IRBBB",)),
        ("ink. RSB", "right", "", ("IRBBB",)),
        ("Rechtsschenkelblock, inkomplett", "right", "", ("IRBBB",)),
        ("RBBB incomplete", "right", "", ("IRBBB",)),
        ("right bundle branch block, incomplete", "right", "", ("IRBBB",)),
        ("partial RBBB", "right", "", ("IRBBB",)),
        ("inkomplett höger skänkelblock", "right", "", ("IRBBB",)),
        ("inkomplett vänster skänkelblock", "left", "", ("ILBBB",)),
        ("höger grenblock", "right", "", ("CRBBB",)),
        ("vänster grenblock", "left", "", ("CLBBB",)),
        ("vänster främre fascikelblock", "left", "", ("LAFB",)),
        ("ST-Hebungsinfarkt", "", "", ("STE_",)),
    ],
)
def test_side_territory_and_codes(text: str, side: str, territory: str, codes: tuple[str, ...]) -> None:
    (found,) = lexicon().find(text)
    assert (found.side, found.territory, found.codes, found.polarity) == (side, territory, codes, "present")
    assert normalise(text)[found.start : found.stop] == normalise(text)


@pytest.mark.parametrize(
    "text",
    [
        "normal T waves",
        "QT normal",
        "normal intervals",
        "normal QRS",
        "normal voltage",
        "T-Welle normal",
        "upper limits of normal",
        "normalt st",
        "outside normal limits",
    ],
)
def test_a_part_that_is_normal_is_not_a_normal_tracing(text: str) -> None:
    assert coded(text, "NORM") == set()


def test_the_longest_form_wins_and_only_at_the_borders_of_words() -> None:
    assert said("unvollständiger Rechtsschenkelblock") == {
        ("incomplete right bundle branch block", "present")
    }
    assert said("atrial fibrillation with rapid ventricular response") == {
        ("atrial fibrillation with rapid ventricular response", "present")
    }
    assert said("normalisierung infarktoid xvorhofflimmern pacemakerlike") <= {
        ("myocardial infarction", "present")
    }
    assert said("abnormal") == set()


@pytest.mark.parametrize("word", ["überdrehter", "ueberdrehter", "uberdrehter", "ÜBERDREHTER", "Überdrehter"])
def test_every_spelling_of_an_umlaut_is_known(word: str) -> None:
    assert said(f"{word} Linkstyp") == {("extreme left axis", "present")}


@pytest.mark.parametrize(("code", "phrase"), CODES)
def test_every_wording_of_the_synthetic_cohort_is_coded(code: str, phrase: str) -> None:
    assert coded(phrase, code) == {"present"}


@pytest.mark.parametrize("language", WORDINGS)
def test_every_hedge_and_negation_of_the_synthetic_cohort_counts(language: str) -> None:
    words = WORDINGS[language]
    hedged = [
        (hedge, code, phrase)
        for hedge in words.hedges
        for code, many in words.statements.items()
        for phrase in many
    ]
    wrong = [
        hedge.format(phrase)
        for hedge, code, phrase in hedged
        if "uncertain" not in coded(hedge.format(phrase), code) and code not in ("NORM", "SR")
    ]
    assert wrong == []
    for absent, name in itertools.product(words.absent, ABSENT[language].values()):
        assert {polarity for _, polarity in said(absent.format(name))} == {"absent"}


def test_every_axis_and_desk_line_of_the_synthetic_cohort_is_known() -> None:
    for words in WORDINGS.values():
        assert all("axis" in concept for _, name in words.axes for concept, _ in said(name))
        assert all(len(said(name)) == 1 for _, name in words.axes)
        assert all(
            said(line.format("A.", device)) == set() for line in words.desk for device in words.devices
        )


def test_tags_are_one_half_or_nothing() -> None:
    knows = lexicon()
    table = knows.tag(["Sinusrhythmus, Linkshypertrophie möglich, kein Infarkt", "", "LVH. Possible LVH."])
    assert table.shape == (3, len(knows.concepts)) and table.dtype == np.float32
    found = {
        (row, knows.concepts[column]): table[row, column]
        for row, column in zip(*table.nonzero(), strict=True)
    }
    lvh = "left ventricular hypertrophy"
    assert found == {(0, "sinus rhythm"): 1, (0, lvh): 0.5, (2, lvh): 1}


def test_no_form_means_two_things() -> None:
    meanings: dict[tuple[str, ...], set[tuple[object, ...]]] = {}
    for entry in lexicon().entries:
        for words in spellings(entry.surface):
            kind = entry.concept or entry.group
            meanings.setdefault(words, set()).add(
                (kind, entry.polarity, entry.codes, entry.side, entry.stands)
            )
    assert {words: meant for words, meant in meanings.items() if len(meant) > 1} == {}


def test_the_lexicon_is_as_large_and_as_whole_as_it_says() -> None:
    knows = lexicon()
    assert knows.version and len(knows.entries) >= 300
    assert knows.concepts == tuple(sorted({entry.concept for entry in knows.entries} - {""}))
    assert {entry.language for entry in knows.entries} == {"de", "en", "sv"}
    assert all(entry.surface == entry.surface.lower() and "{" not in entry.surface for entry in knows.entries)
    assert lexicon() is knows


def test_each_form_of_the_lexicon_is_found_as_a_whole() -> None:
    knows = lexicon()
    for words in {words for entry in knows.entries for words in spellings(entry.surface)}:
        text = " ".join(words).replace("*", "")
        assert knows.mask(text) == "_", text


def test_a_mask_hides_codes_but_they_are_no_findings() -> None:
    knows = lexicon()
    for code in {code for entry in knows.entries for code in entry.codes}:
        masked = knows.mask(f"xyz {code} 80")
        assert not re.findall("[^_/() ]+", masked.removeprefix("xyz").removesuffix("80")), masked
    assert knows.find("IMI 80, NORM 0, (NDT)") == ()


def test_a_mask_leaves_no_form_that_is_known() -> None:
    knows = lexicon()
    forms = [entry.surface.replace("*", "") for entry in knows.entries]
    rng = np.random.default_rng(0)
    for _ in range(300):
        text = " ".join(rng.choice([*forms, "und zwar", "x", ",", ".", "_", "4"], 8))
        masked = knows.mask(text)
        assert knows.find(masked) == () and knows.mask(masked) == masked
        assert not {
            word for word in masked.split() if word in ("infarkt", "sinusrhythmus", "infarct", "infarkt")
        }


def test_findings_agree_with_a_slow_search() -> None:
    tree: Forms[str] = Forms()
    forms = ["a b", "a", "b c d", "c*", "d-e", "b c"]
    for form in forms:
        tree.add(form, form)
    slow = {"a b": r"a b", "a": "a", "b c d": "b c d", "c*": "c[a-z]*", "d-e": "d ?e", "b c": "b c"}
    rng = np.random.default_rng(1)
    for _ in range(200):
        text = " ".join(rng.choice(["a", "b", "c", "cx", "d", "e", "de", "z"], 12))
        expected, at = [], 0
        while at < len(text):
            hits = [
                (m.end(), form)
                for form in forms
                if (m := re.compile(rf"(?:{slow[form]})(?![a-z])").match(text, at))
            ]
            if hits and (at == 0 or text[at - 1] == " "):
                stop = max(stop for stop, _ in hits)
                exact = [form for end, form in hits if end == stop]
                expected.append((exact[0], at, stop))
                at = stop
            else:
                at += 1
        assert [tuple(match) for match in tree.find(text)] == expected, text


def test_translation_says_in_english_what_it_knows_and_keeps_the_rest() -> None:
    english = lexicon().to_english
    assert english("Sinusrhythmus, inferiorer Infarkt möglich") == "sinus rhythm, inferior infarct possible"
    assert english("kein Xylofon bei Linksschenkelblock") == "no xylofon with left bundle branch block"
    assert (
        english("sinusrytm vänster el-axel eljest normalt ekg")
        == "sinus rhythm left axis otherwise normal ECG"
    )
    assert english("Occasional PVCs in V4,5,6.") == "occasional pvcs in v4,5,6."


def test_long_reports_are_tagged() -> None:
    """What costs the square of the length would take minutes here."""
    knows = lexicon()
    for text in ("no ", "möglich ", "sinusrhythmus ", "or ", "v1,", "a-v ", "xy", "kein infarkt oder "):
        assert knows.tag([text * (20_000 // len(text))]).shape == (1, len(knows.concepts))


def test_findings_are_in_order_and_do_not_overlap() -> None:
    found = lexicon().find("Sinusrhythmus Linkstyp. Kein Infarkt. LVH möglich")
    assert all(isinstance(one, Finding) for one in found) and len(found) == 4
    assert all(a.stop <= b.start for a, b in itertools.pairwise(found))
