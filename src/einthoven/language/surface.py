"""Find known forms in a text, word by word: of those that fit, the longest wins."""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Generic, NamedTuple, TypeVar

__all__ = ["Forms", "Match", "spellings"]

Meaning = TypeVar("Meaning")

# A list of chest leads ("v4,5,6") is one word, and so is a sign; spaces, hyphens and slashes only separate.
LEADS = r"\bv[1-9]r?(?:(?: ?[,/-] ?| bis | to )v?[1-9]r?\b)*(?![^\W_])"
TOKEN = re.compile(rf"{LEADS}|[^\W_]+|[^\s/-]")
WRITTEN = re.compile(r"[^\W_]+\*?|[^\s/]")  # the words of a form
CHOICE = re.compile(r"(\[[^]]*\]|[-,])")
CHOICES = {"-": ("", " "), ",": (" ", " , ", " : ")}
FOLDED = str.maketrans({"ä": "a", "ö": "o", "ü": "u", "å": "a", "é": "e", "ß": "ss"})
PAIR = re.compile("([aou])e|aa")
ENDING = 9  # letters that a "*" may stand for


class Match(NamedTuple, Generic[Meaning]):
    """A known form: what it means, and where it stands."""

    meaning: Meaning
    start: int
    stop: int


class Node(Generic[Meaning]):
    """A place in the tree of forms, as many words deep as have been read."""

    __slots__ = ("meaning", "stems", "words")

    def __init__(self) -> None:
        self.words: dict[str, Node[Meaning]] = {}
        self.stems: dict[str, Node[Meaning]] = {}
        self.meaning: Meaning | None = None

    def after(self, word: str) -> Iterator["Node[Meaning]"]:
        """Yield where a word leads: by itself, then as a stem with an ending, the longest first."""
        if node := self.words.get(word):
            yield node
        if self.stems:
            for length in range(len(word), max(0, len(word) - ENDING - 1), -1):
                if node := self.stems.get(word[:length]):
                    yield node


class Forms(Generic[Meaning]):
    """A tree of surface forms.

    In a form a space stands for a space, a hyphen or a slash, "-" for these or nothing, "," for an optional
    comma or colon, [x] for x or nothing, and "*" for an ending of at most nine letters. Umlauts also match
    ae, oe, ue and the bare vowel, and ß matches ss.
    """

    def __init__(self) -> None:
        self.root: Node[Meaning] = Node()

    def add(self, form: str, meaning: Meaning) -> None:
        """Teach a form; a later meaning takes the place of an earlier one."""
        for words in spellings(form):
            node = self.root
            for word in words:
                branch = node.stems if word.endswith("*") else node.words
                node = branch.setdefault(word.rstrip("*"), Node())
            node.meaning = meaning

    def find(self, text: str) -> Iterator[Match[Meaning]]:
        """Yield the forms in a text of lower case, from left to right; none overlaps another."""
        tokens = list(TOKEN.finditer(text))
        words = [_fold(token.group()) for token in tokens]
        at = 0
        while at < len(words):
            stop, meaning = self._longest(words, at)
            if meaning is not None:
                yield Match(meaning, tokens[at].start(), tokens[stop - 1].end())
            at = max(stop, at + 1)

    def _longest(self, words: list[str], at: int) -> tuple[int, Meaning | None]:
        """Return behind which word the longest form ends that begins at one, and what it means."""
        stop, meaning = at, None
        nodes = [self.root]
        while nodes and at < len(words):
            nodes = [after for node in nodes for after in node.after(words[at])]
            at += 1
            for node in nodes:
                if node.meaning is not None and at > stop:
                    stop, meaning = at, node.meaning
        return stop, meaning


def spellings(form: str) -> set[tuple[str, ...]]:
    """Return every sequence of folded words that a form stands for; a stem keeps its "*"."""
    parts = CHOICE.split(form)
    choices = [("", part[1:-1]) if part[:1] == "[" else CHOICES.get(part, (part,)) for part in parts]
    return {tuple(map(_fold, WRITTEN.findall("".join(chosen)))) for chosen in product(*choices)}


@lru_cache(maxsize=1 << 14)
def _fold(word: str) -> str:
    """Return a word without umlauts, however these are written, and any list of chest leads as "v1"."""
    if word[0] == "v" and word[1:2].isdigit():
        return "v1"
    return PAIR.sub(lambda pair: pair.group(1) or "a", word.translate(FOLDED))
