"""The lexicon: what the words of a report mean, how to hide them, and how to say them in English."""

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from einthoven.language.normalise import normalise
from einthoven.language.scope import Kind, Polarity, Spot, Stands, polarities, starts
from einthoven.language.surface import Forms

__all__ = ["Entry", "Finding", "Lexicon", "lexicon"]

LANGUAGES = ("de", "en", "sv")
SILENT = ("word", "lead", "desk", "negation", "hedge")  # groups whose forms are known but find nothing
KINDS: dict[str, Kind] = {
    "negation": "negation",
    "hedge": "hedge",
    "age": "age",
    "lead": "place",
    "desk": "place",
}
WORDS: dict[str, Kind] = {"or": "or", "and": "and"}
WEIGHT = {"present": 1.0, "uncertain": 0.5, "absent": 0.0}


class Entry(NamedTuple):
    """One surface form of one language, and what it means."""

    surface: str  # as the head of lexicon.toml explains
    language: str  # "de", "en" or "sv"
    group: str
    concept: str  # "": it finds nothing
    polarity: Polarity
    side: str  # "left", "right" or ""
    territory: str
    codes: tuple[str, ...]  # SCP-ECG
    english: str  # "": it stays as it is
    stands: Stands


class Finding(NamedTuple):
    """One thing that a report says; `start` and `stop` are places in the normalised text."""

    concept: str
    polarity: Polarity
    side: str
    territory: str
    codes: tuple[str, ...]
    start: int
    stop: int


class Lexicon:
    """Surface forms in German, English and Swedish, compiled in a tree of words."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.version: str = told["version"]
        self.entries: tuple[Entry, ...] = tuple(_entries(told))
        self.concepts: tuple[str, ...] = tuple(sorted({e.concept for e in self.entries if e.concept}))
        self.column = {concept: place for place, concept in enumerate(self.concepts)}
        self.forms: Forms[Entry] = Forms()
        for code in sorted({code for entry in self.entries for code in entry.codes}):
            for name in {code, code.strip("_"), *code.split("/")}:  # known, but no finding: "imi 0" denies it
                self.forms.add(name.lower(), Entry(name, "en", "word", "", "present", "", "", (), "", ""))
        for entry in sorted(self.entries, key=lambda entry: entry.language == "en"):  # English stays as it is
            self.forms.add(entry.surface, entry)

    def find(self, text: str) -> tuple[Finding, ...]:
        """Return what a report says, in order, negations and hedges applied."""
        text = normalise(text)
        meanings, spots = self._spots(text)
        reached = polarities(text, spots)
        return tuple(
            Finding(m.concept, found or m.polarity, m.side, m.territory, m.codes, s.start, s.stop)
            for m, s, found in zip(meanings, spots, reached, strict=True)
            if m.concept
        )

    def tag(self, texts: Sequence[str]) -> Float[np.ndarray, "text concept"]:
        """Mark in float32 what each report says: 1 present, 0.5 uncertain, 0 absent or not mentioned."""
        table = np.zeros((len(texts), len(self.concepts)), np.float32)
        for row, text in zip(table, texts, strict=True):
            for finding in self.find(text):
                place = self.column[finding.concept]
                row[place] = max(row[place], WEIGHT[finding.polarity])
        return table

    def statements(self, text: str) -> tuple[str, ...]:
        """Split a report at full stops, and where one finding follows another without a word between."""
        text = normalise(text)
        places = [*starts(text, self._spots(text)[1]), len(text)]
        parts = (text[a:b].strip() for a, b in pairwise(places))
        return tuple(part for part in parts if part)

    def mask(self, text: str) -> str:
        """Put "_" in place of each form that the lexicon knows."""
        return self._replace(normalise(text), lambda entry: "_")

    def to_english(self, text: str) -> str:
        """Translate each form that the lexicon knows; what it does not know, and the order, stay."""
        return self._replace(normalise(text), lambda entry: "" if entry.language == "en" else entry.english)

    def _replace(self, text: str, say: Callable[[Entry], str]) -> str:
        """Put other words in place of each known form; "" leaves it as it is."""
        parts, at = [], 0
        for entry, start, stop in self.forms.find(text):
            parts += [text[at:start], say(entry) or text[start:stop]]
            at = stop
        return "".join(parts) + text[at:]

    def _spots(self, text: str) -> tuple[list[Entry], list[Spot]]:
        """Find all known forms of a normalised text."""
        found = list(self.forms.find(text))
        spots = [Spot(_kind(m.meaning), m.meaning.stands, m.meaning.group, m.start, m.stop) for m in found]
        return [match.meaning for match in found], spots


def _entries(told: Mapping[str, Any]) -> Iterator[Entry]:
    """Yield one entry for each surface form of each meaning, at each place that the meaning has codes for."""
    for group, meanings in told.items():
        if group in ("version", "places"):
            continue
        for meaning in meanings:
            codes = meaning.get("codes", ())
            if not isinstance(codes, Mapping):
                yield from _forms(group, meaning, meaning.get("territory", ""), tuple(codes), {})
                continue
            for place, some in codes.items():
                yield from _forms(group, meaning, place, tuple(some), told["places"][place])


def _forms(
    group: str,
    meaning: Mapping[str, Any],
    place: str,
    codes: tuple[str, ...],
    names: Mapping[str, Sequence[str]],
) -> Iterator[Entry]:
    english = meaning["english"].replace("{place}", place)
    concept = "" if group in SILENT else meaning.get("concept", english).replace("{place}", place)
    polarity, side, stands = (
        meaning.get("polarity", "present"),
        meaning.get("side", ""),
        meaning.get("stands", ""),
    )
    for language in LANGUAGES:
        for form, name in product(meaning.get(language, ()), names.get(language, ("",))):
            surface = form.replace("{place}", name)
            yield Entry(surface, language, group, concept, polarity, side, place, codes, english, stands)


def _kind(entry: Entry) -> Kind:
    """Return what an entry is to the reach of negations and hedges."""
    if entry.group == "word":
        return WORDS.get(entry.english, "word")
    return KINDS.get(entry.group, "finding")


@cache
def lexicon() -> Lexicon:
    """Return the lexicon that comes with the package; read and compiled once."""
    return Lexicon(tomllib.loads(files("einthoven.language").joinpath("lexicon.toml").read_text("utf-8")))
