"""How far a "no" or a "possibly" reaches: which findings of a statement it speaks of."""

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

__all__ = ["Kind", "Polarity", "Spot", "Stands", "polarities", "starts"]

Polarity = Literal["present", "absent", "uncertain"]
Kind = Literal["finding", "age", "place", "negation", "hedge", "or", "and", "word"]

Stands = Literal["", "before", "after", "either"]

END = re.compile(r"[.!?;](?: |$)")  # of a statement
WORD = re.compile(r"[^\W\d_]+")
BRACKET = re.compile(r"[()]")
FAR = 5  # words that the lexicon does not know may stand between a modifier and what it speaks of
POLARITY: dict[Kind, Polarity] = {"negation": "absent", "hedge": "uncertain"}


class Spot(NamedTuple):
    """A known form in a text, as far as its reach goes."""

    kind: Kind
    stands: Stands  # where a modifier is, seen from its finding
    group: str
    start: int
    stop: int


class Gap(NamedTuple):
    """What stands between a spot and the one before it."""

    end: bool  # of a statement
    words: int  # that nobody knows
    comma: bool
    colon: bool
    brackets: str


TIGHT = Gap(False, 0, False, False, "")


def polarities(text: str, spots: Sequence[Spot]) -> list[Polarity | None]:
    """Return for each spot what the modifiers of its statement make of it, None where none reaches it.

    A modifier before its finding also reaches what "or" joins to that, across the commas of such a list or of
    one that a colon opens, and what follows at once and is of the same group; a hedge also what "and" joins;
    neither leaves its brackets. One after its finding reaches back over "or" and "and" only, and so does the
    answer behind a colon: "ischaemia: none". No modifier reaches past another; where a negation and a hedge
    reach one finding, the negation holds. It also denies the age before what it denies: "no old infarct".
    """
    gaps = [_gap(text, before, after) for before, after in zip([None, *spots], [*spots, None], strict=True)]
    found: list[Polarity | None] = [None] * len(spots)
    for place, spot in enumerate(spots):
        if spot.kind not in POLARITY:
            continue
        for reached in _reach(place, spots, gaps):
            if found[reached] != "absent":
                found[reached] = POLARITY[spot.kind]
    return found


def starts(text: str, spots: Sequence[Spot]) -> list[int]:
    """Return where statements begin: after a full stop, or where a finding follows another without a word."""
    found, open_ = [0], True
    before: Spot | None = None
    for spot in spots:
        gap = _gap(text, before, spot)
        heads = spot.kind == "finding" or spot.stands == "before"
        if gap.end or (heads and not open_ and not gap.words and not gap.comma):
            found.append(spot.start)
        if spot.kind != "age":
            open_ = spot.kind in ("or", "and", "word") or spot.stands in ("before", "either")
        elif gap.end:
            open_ = True
        before = spot
    return found


def _gap(text: str, before: Spot | None, after: Spot | None) -> Gap:
    begin = before.stop if before else 0
    if text[begin - 1 : begin] == "?":  # a hedge that also ends what it speaks of
        begin -= 1
    between = text[begin : after.start if after else len(text)]
    if between in ("", " "):  # as most are
        return TIGHT
    words, brackets = len(WORD.findall(between)), "".join(BRACKET.findall(between))
    return Gap(bool(END.search(between)), words, "," in between, ":" in between, brackets)


def _reach(place: int, spots: Sequence[Spot], gaps: Sequence[Gap]) -> Iterator[int]:
    """Yield the places of the findings that a modifier speaks of."""
    stands = spots[place].stands
    if stands == "either":
        heads = place == 0 or gaps[place].end or gaps[place].comma
        stands = "before" if heads or _meets(place, spots, gaps) else "after"
    walk = _after if stands == "before" and not _answers(place, spots, gaps) else _before
    return walk(place, spots, gaps)


def _answers(place: int, spots: Sequence[Spot], gaps: Sequence[Gap]) -> bool:
    """Say whether a modifier is all that stands behind a finding and a colon."""
    before, after = gaps[place], gaps[place + 1]
    asked = place > 0 and spots[place - 1].kind == "finding" and before.colon and not before.words
    return asked and not after.words and (place + 1 == len(spots) or after.end or after.comma)


def _meets(place: int, spots: Sequence[Spot], gaps: Sequence[Gap]) -> bool:
    """Say whether a modifier stands right before a finding, but for its age and words that are known."""
    for at in range(place + 1, len(spots)):
        gap, spot = gaps[at], spots[at]
        if gap.end or gap.words or gap.comma or spot.kind not in ("finding", "age", "word"):
            return False
        if spot.kind == "finding":
            return spot.group != "whole"
    return False


def _after(place: int, spots: Sequence[Spot], gaps: Sequence[Gap]) -> Iterator[int]:
    stop = place + 1
    while stop < len(spots) and not gaps[stop].end and spots[stop].kind not in POLARITY:
        stop += 1
    # "no infarct, block or strain" and "possible: infarct, block" are lists; "no infarct, old block" is not
    lists = gaps[place + 1].colon or any(spot.kind == "or" for spot in spots[place + 1 : stop])
    pairs = lists or spots[place].kind == "hedge"
    last, words, comma, joined, brackets = "", 0, False, False, ""
    ages: list[int] = []  # before the next finding
    for at in range(place + 1, stop):
        gap, spot = gaps[at], spots[at]
        ages = [*ages, at] if spot.kind == "age" else ages
        words, comma = words + gap.words, comma or gap.comma
        brackets = (brackets + gap.brackets).replace("()", "")
        if words > (0 if last or comma else FAR) or brackets.startswith(")"):
            return
        joined = joined or spot.kind == "or" or (lists and gap.comma) or (pairs and spot.kind == "and")
        if spot.kind == "finding":
            if last and not joined and (comma or spot.group != last):
                return
            yield at
            if spots[place].kind == "negation":
                yield from ages
            last, words, comma, joined, ages = spot.group, 0, False, False, []


def _before(place: int, spots: Sequence[Spot], gaps: Sequence[Gap]) -> Iterator[int]:
    seen, words, joined = False, 0, False
    for at in range(place - 1, -1, -1):
        gap, spot = gaps[at + 1], spots[at]
        words += gap.words
        if gap.end or words > (0 if seen else FAR) or spot.kind in POLARITY:
            return
        joined = joined or spot.kind in ("or", "and")
        if spot.kind == "finding":
            if seen and not joined:
                return
            yield at
            if spots[place].kind == "negation" and at and spots[at - 1].kind == "age" and gaps[at] == TIGHT:
                yield at - 1
            seen, words, joined = True, 0, False
