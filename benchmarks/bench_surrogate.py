"""The surrogate beside exact dynamic time warping: its error on held-out ECGs, and what a batch costs.

python benchmarks/bench_surrogate.py RUN STORE     (RUN: of recipes/metric/surrogate.toml)
"""

import sys
import time
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from einthoven.data.loader import Reader, Windows
from einthoven.data.store import open_store
from einthoven.data.whole import Whole
from einthoven.distances.dtw import DTW
from einthoven.evaluate.embed import features
from einthoven.plan import plan
from einthoven.predict import load
from einthoven.recipe import load as load_recipe
from einthoven.recipe import several
from einthoven.warp.straight import euclidean

BATCH = 64


def cpu(work) -> tuple[float, object]:
    """Return the least CPU seconds of three rounds, and the result."""
    best = np.inf
    for _ in range(3):
        start = time.process_time()
        result = work()
        best = min(best, time.process_time() - start)
    return best, result


def main() -> None:
    """Compare on the test split, which the surrogate has not seen; print one table."""
    run, store = Path(sys.argv[1]), open_store(Path(sys.argv[2]))
    model, recipe = load(run), load_recipe(run / "recipe.toml")
    options = {key: value for key, value in several(recipe["loss"])[0]["distance"].items() if key != "name"}
    rows = plan(recipe, store).split.test
    windows, signals = Windows(Reader(store, model.wants), model.stride), Whole(store)

    def exact(some: np.ndarray) -> np.ndarray:
        return DTW(signals, **options).among(some)  # a new one each time: nothing is remembered

    def learned(some: np.ndarray) -> np.ndarray:
        return euclidean(features(model.method, windows, some, which="embedding")[:, None])

    true, guess = exact(rows), learned(rows)
    pairs = np.triu_indices(len(rows), 1)
    spread = true[pairs].std()
    error = np.sqrt(np.square(guess[pairs] - true[pairs]).mean())
    np.fill_diagonal(true, np.inf)
    np.fill_diagonal(guess, np.inf)
    same = float((true.argmin(1) == guess.argmin(1)).mean())
    cost = {
        name: cpu(lambda of=of: of(rows[:BATCH]))[0] for name, of in (("DTW", exact), ("surrogate", learned))
    }
    print(f"{len(rows)} test ECGs, {len(pairs[0]):,} pairs; DTW {options}")
    print("| | |\n|---|---|")
    print(f"| RMSE (the mean distance for every pair: {spread:.2f} mV) | {error:.2f} mV |")
    print(f"| Spearman's rank correlation | {spearmanr(true[pairs], guess[pairs])[0]:.3f} |")
    print(f"| the same nearest neighbour | {100 * same:.0f} % |")
    print(f"| CPU seconds for a batch of {BATCH}, exact | {cost['DTW']:.3f} |")
    print(f"| CPU seconds for a batch of {BATCH}, surrogate | {cost['surrogate']:.3f} |")


if __name__ == "__main__":
    main()
