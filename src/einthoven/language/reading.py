"""Read a report: what it says, in which language, who wrote it, and whether it says anything."""

import re
from typing import Literal, NamedTuple

from einthoven.language.lexicon import lexicon
from einthoven.language.normalise import normalise

__all__ = ["LONGEST", "Language", "Provenance", "Report", "Status", "read_report", "status_of"]

LONGEST = 4_000  # characters of a report that are read

Status = Literal["ok", "empty", "trace only"]
Provenance = Literal["automatic", "human", "edited"]
Language = Literal["de", "en", "sv", "unknown"]

TRACE_ONLY = re.compile(r"(?:ecg |ekg )?trace only(?: requested)?[ .!]*")
EDITED = re.compile(r"\bedit:|consensus label", re.IGNORECASE)
AUTOMATIC = re.compile(r"\bunbest(?:ä|ae?)tigt|\d\.\d\d? +unb|\bunconfirmed\b|\bobekräftad", re.IGNORECASE)
WORD = re.compile(r"[^\W\d_]+")

# Words, then endings, that only one of the languages has: what two of them share says nothing.
GERMAN = """
aber abnorm abnormal abnormales abnormes alt alter amplitudenkriterien ansonsten auf auszuschliessen
befund bei das dem der des die ein eine fuer für gerät grades hebung im infarktnarbe ischaemie ischämie
kammer kein keine lagetyp leitungsstörung mit moeglich mögl möglich nicht niederspannung normales oder
ohne pathologisch pathologisches schrittmacher senkung sicher sonst sves ueber unbest und unvollständiger
verdacht verlust ves von vorhofflimmern wahrscheinlich zeichen zeit über
"""
ENGLISH = """
abnormality age and are arrhythmia at atrial axis be beats bradycardia but cannot changes complete
consistent degree deviation due ecg elevation evidence first flat for found heart high incomplete infarct
inverted is ischaemia ischemia lead leads left limits low may non not of old only or otherwise pathology
poor possible premature probable probably prolonged rate requested rhythm right segments sign specific
suggest suggesting suggests tachycardia the this to trace tracing undetermined unremarkable ventricular
voltages wave waves with within
"""
SWEDISH = """
avledning avledningar avvikande axel bör ej eljest eller en ett extraslag extrasystoli främre för förlopp
förmaksfladder förmaksflimmer förändring hög höger högersidigt inga ingen inte ischemi kammarfrekvens
kammarhypertrofi med möjligen normalt och ospecifik ospecifikt regelbunden rytm sannolikt sinusarytmi
sinusbradykardi sinusrytm sinustachykardi sinustakykardi skänkelblock sänkning såsom utan vid vänster våg
äldre ålder övervägas
"""
WORDS: dict[Language, frozenset[str]] = {
    "de": frozenset(GERMAN.split()),
    "en": frozenset(ENGLISH.split()),
    "sv": frozenset(SWEDISH.split()),
}
ENDINGS: dict[Language, tuple[str, ...]] = {
    "de": (
        "rhythmus",
        "typ",
        "ungen",
        "kardie",
        "schenkelblock",
        "hypertrophie",
        "schaden",
        "ischer",
        "achse",
        "systole",
        "arer",
    ),
    "en": ("tion", "ular", "trophy", "aemia", "emia", "ity"),
    "sv": ("rytm", "kardi", "hypertrofi", "flimmer", "ningar", "iskt", "skada"),
}


class Report(NamedTuple):
    """One report, taken apart."""

    raw: str  # as it was written
    text: str  # normalised, at most LONGEST characters
    status: Status
    provenance: Provenance
    language: Language
    statements: tuple[str, ...]


def read_report(raw: str) -> Report:
    """Take a report apart; of one longer than LONGEST characters, the beginning is read."""
    text, status = status_of(raw)
    statements = lexicon().statements(text) if status == "ok" else ()
    return Report(raw, text, status, _provenance(raw[:LONGEST]), _language(text), statements)


def status_of(raw: str) -> tuple[str, Status]:
    """Return the normalised text of a report, and whether it says anything about the heart."""
    text = normalise(raw[:LONGEST])
    if not WORD.search(text):
        return text, "empty"
    return text, "trace only" if TRACE_ONLY.fullmatch(text) else "ok"


def _provenance(raw: str) -> Provenance:
    """Say who wrote a report: a machine that nobody confirmed, a person, or a person who changed it later."""
    if EDITED.search(raw):
        return "edited"
    return "automatic" if AUTOMATIC.search(raw) else "human"


def _language(text: str) -> Language:
    """Return the language that most words of a normalised text belong to, if there is one."""
    words = WORD.findall(text)
    counts = {
        name: sum(word in known or word.endswith(ENDINGS[name]) for word in words)
        for name, known in WORDS.items()
    }
    best, second, _ = sorted(counts.values(), reverse=True)
    return max(counts, key=lambda name: counts[name]) if best > second else "unknown"
