"""Clean a report: one case, whole umlauts, single spaces, and no marks of the machine that printed it."""

import re
import unicodedata

__all__ = ["normalise"]

# UTF-8 that was read as Latin-1, in lower case.
MANGLED = {
    "ã¤": "ä",
    "ã¶": "ö",
    "ã¼": "ü",
    "ã¥": "å",
    "ã©": "é",
    "ã\x84": "ä",
    "ã\x96": "ö",
    "ã\x9c": "ü",
    "ã\x85": "å",
    "ã\x9f": "ß",
    "ã„": "ä",
    "ã–": "ö",
    "ãœ": "ü",
    "ã…": "å",
    "ãÿ": "ß",
}
UMLAUT = re.compile("|".join(map(re.escape, MANGLED)))
SHARP = re.compile(r"(?<=\bf)#(?=r\b)|#(?=ber)")  # PTB-XL: "f#r" and "#bergang" have lost an ü
UNSEEN = re.compile(r"[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\ud800-\udfff]")
CONTROL = re.compile(r"ó[©¬½¿]|[\x00-\x1f\x7f-\x9f]")  # PTB-XL: "ó¬" and the like ruled a printer
# "4.46 unbestätigter bericht": the version of a program, and that nobody has looked at what it wrote.
MARKER = re.compile(r"(?:(?<!\S)\d\.\d\d? )?unbest(?:ä|ae?)tigt\w*(?: bericht\w*| unbest(?:ä|ae?)tigt\w*)*")
TAIL = re.compile(r"\bedit:.*|consensus label.*", re.DOTALL)  # what editors added, the label itself
# A marker that the length of a field cut short: at the end, or before another one.
CUT = r"(?<!\S)\d\.\d\d? unb"
REST = ("e", "s", "t", "(?:ä|ae?)", *"tigter bericht")
SHORT = re.compile(rf"{CUT}{''.join(f'(?:{letter}' for letter in REST)}{')?' * len(REST)}(?= {CUT}|\Z)")


def normalise(raw: str) -> str:
    """Return a report in lower case with whole umlauts, and without controls, markers and "Edit:" tails.

    To normalise twice changes nothing more; the cost grows in proportion to the length.
    """
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", UNSEEN.sub("", raw)).lower())
    text = UMLAUT.sub(lambda found: MANGLED[found.group()], text)
    text = _single(MARKER.sub(" ", _single(CONTROL.sub(" ", text))))
    return SHARP.sub("ü", _single(SHORT.sub("", _single(TAIL.sub("", text)))))


def _single(text: str) -> str:
    """Return words with one space between them."""
    return " ".join(text.split())
