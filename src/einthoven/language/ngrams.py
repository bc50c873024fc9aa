"""Character n-grams of words, hashed to columns: a vector for any text, without a vocabulary.

Within words and with their borders: Bojanowski et al. 2017, arXiv:1607.04606. Hashed with a sign, so that
inner products stay right on average: Weinberger et al. 2009, arXiv:0902.2206.
"""

import re
from collections.abc import Sequence
from itertools import chain
from zlib import crc32

import numpy as np
from jaxtyping import Bool, Int, UInt64
from scipy.sparse import csr_matrix

WORD = re.compile(r"[^\W_]+|\?")  # "?" hedges; "_" stands where something was masked, and says nothing
BASE = np.uint64(0x100000001B3)
MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # of splitmix64


def words(text: str) -> list[str]:
    """Split a text into runs of letters and digits, and question marks.

    >>> words("av-block i. grades, infarkt?")
    ['av', 'block', 'i', 'grades', 'infarkt', '?']
    """
    return WORD.findall(text)


def matrix(texts: Sequence[str], dim: int = 2**15, low: int = 3, high: int = 5) -> csr_matrix:
    """Return one row of length 1 per text, in float32 (zeros for a text without words).

    >>> near = matrix(["linkstyp", "linkslage", "steiltyp"]) @ matrix(["linkstyp"]).T
    >>> [round(float(cosine), 2) for cosine in near.toarray().ravel()]
    [1.0, 0.4, 0.14]
    """
    table = counts(texts, dim, low, high)
    length = np.sqrt(np.asarray(table.power(2).sum(1)).ravel())
    table.data /= np.repeat(length, np.diff(table.indptr))
    return table


def counts(texts: Sequence[str], dim: int, low: int = 3, high: int = 5) -> csr_matrix:
    """Count signed n-grams: one row per text, the sum of the rows of its words."""
    uses, known = vocabulary(texts)
    table = csr_matrix(uses @ spelled(known, dim, low, high))
    table.eliminate_zeros()
    table.sort_indices()
    return table


def vocabulary(texts: Sequence[str]) -> tuple[csr_matrix, list[str]]:
    """Count the words of texts: a row per text, a column per word, and the words."""
    said = [words(text) for text in texts]
    place = {word: number for number, word in enumerate(dict.fromkeys(chain.from_iterable(said)))}
    column = np.fromiter((place[word] for word in chain.from_iterable(said)), np.int64)
    ends = np.cumsum([0, *map(len, said)])
    ones = np.ones(len(column), np.float32)
    return csr_matrix((ones, column, ends), shape=(len(said), len(place))), list(place)


def placed(
    texts: Sequence[str], most: int | None = None
) -> tuple[list[str], Int[np.ndarray, "text token"], Bool[np.ndarray, "text token"]]:
    """List the words of texts, which stands where in each (the first `most`), and where any stands."""
    said = [words(text)[:most] for text in texts]
    place = {word: number for number, word in enumerate(dict.fromkeys(chain.from_iterable(said)))}
    lengths = np.array([len(some) for some in said], np.int64)
    taken = np.arange(max(1, lengths.max(initial=0))) < lengths[:, None]
    where = np.zeros(taken.shape, np.int64)
    where[taken] = [place[word] for word in chain.from_iterable(said)]
    return list(place), where, taken


def buckets(known: Sequence[str], count: int) -> tuple[Int[np.ndarray, " id"], Int[np.ndarray, " word"]]:
    """Hash words and their n-grams to `count` numbers; say where those of each word begin."""
    rows, codes = grams(known, 3, 5)
    itself = np.array([crc32(word.encode("utf-8", "surrogatepass")) for word in known], np.uint64)
    rows = np.concatenate([np.arange(len(known)), rows])
    codes = np.concatenate([mixed(itself), codes])
    order = np.argsort(rows, kind="stable")
    begins = np.searchsorted(rows[order], np.arange(len(known)))
    return columns(codes[order], count), begins


def columns(codes: UInt64[np.ndarray, " gram"], count: int) -> Int[np.ndarray, " gram"]:
    """Bring codes to the numbers below `count`, all alike."""
    return ((codes >> np.uint64(32)) * np.uint64(count) >> np.uint64(32)).astype(np.int64)


def spelled(known: Sequence[str], dim: int, low: int = 3, high: int = 5) -> csr_matrix:
    """Count the signed n-grams of " word ": a row per word."""
    rows, codes = grams(known, low, high)
    sign = 1 - 2 * (codes & np.uint64(1)).astype(np.float32)
    return csr_matrix((sign, (rows, columns(codes, dim))), shape=(len(known), dim))


def grams(
    known: Sequence[str], low: int, high: int
) -> tuple[Int[np.ndarray, " gram"], UInt64[np.ndarray, " gram"]]:
    """Hash every window of `low` to `high` characters of every " word "; say whose it is.

    The words lie side by side, a border between two of them: all windows of a length are hashed at once.
    """
    assert 3 <= low <= high, "a window holds a border or a letter on each side of a letter"
    line = f" {' '.join(known)} ".encode("utf-32-le", "surrogatepass")
    letters = np.frombuffer(line, "<u4").astype(np.uint64)
    inside = letters != ord(" ")
    owner = np.cumsum(~inside) - 1  # a border belongs to the word behind it
    code, whole = letters[:-1] * BASE + letters[1:], np.ones(len(letters) - 1, bool)
    rows, codes = [], []
    for size in range(3, high + 1):
        code = code[:-1] * BASE + letters[size - 1 :]
        whole = whole[:-1] & inside[size - 2 : -1]  # only its ends may be borders
        if size >= low:
            rows.append(owner[: len(code)][whole])
            codes.append(mixed(code[whole]))
    return np.concatenate(rows), np.concatenate(codes)


def mixed(code: UInt64[np.ndarray, " gram"]) -> UInt64[np.ndarray, " gram"]:
    """Spread codes evenly over 64 bits."""
    code = (code ^ (code >> np.uint64(30))) * MIX[0]
    code = (code ^ (code >> np.uint64(27))) * MIX[1]
    spread: UInt64[np.ndarray, " gram"] = code ^ (code >> np.uint64(31))
    return spread
