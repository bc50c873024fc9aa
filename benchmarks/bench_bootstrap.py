"""1,000 patient-clustered resamples of macro AUROC on 2,203 x 71, beside a loop over scikit-learn.

python benchmarks/bench_bootstrap.py [--records 2203] [--labels 71] [--resamples 1000]
bar: at most 2 s on two cores, and equal to scikit-learn to 1e-12.
"""

import argparse
import os
import time

import numpy as np
from sklearn.metrics import roc_auc_score

from einthoven.evaluate import auroc, bootstrap, macro_auroc, resample_weights


def cohort(records: int, labels: int):
    """Label frequencies as in PTB-XL `all` (from 1 in 1,000 to 4 in 10), about 1.1 records per patient."""
    random = np.random.default_rng(0)
    truth = (random.random((records, labels)) < np.geomspace(0.001, 0.4, labels)).astype(float)
    score = 1 / (1 + np.exp(-random.normal(1.5 * truth - 2)))
    return truth, score, random.integers(0, round(records * 0.9), records)


def loop(truth, score, patient, resamples: int) -> list[float]:
    """Score what the first resamples drew with scikit-learn, label by label."""
    values = []
    for line in resample_weights(patient)[:resamples]:
        rows = np.repeat(np.arange(len(truth)), line)
        t, s = truth[rows], score[rows]
        kept = np.flatnonzero((t.min(0) == 0) & (t.max(0) == 1))
        values.append(np.mean([roc_auc_score(t[:, k], s[:, k]) for k in kept]))
    return values


def seconds(work) -> tuple[float, object]:
    """Return the best wall time of three, and the result."""
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - start)
    return best, result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("records", 2203), ("labels", 71), ("resamples", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    truth, score, patient = cohort(asked.records, asked.labels)
    start = time.perf_counter()
    macro_auroc(truth, score)
    print(f"{asked.records:,} x {asked.labels}, {asked.resamples:,} resamples, {os.cpu_count()} cores")
    print(f"first call (compiles, or loads what was compiled)  {time.perf_counter() - start:8.2f} s")
    fast, result = seconds(lambda: bootstrap(macro_auroc, truth, score, patient, asked.resamples))
    print(f"bootstrap(macro_auroc)                             {fast:8.2f} s   bar: 2 s")
    start = time.perf_counter()
    plain = bootstrap(lambda t, s: np.nanmean(auroc(t, s)), truth, score, patient, asked.resamples)
    print(f"bootstrap(lambda t, s: nanmean(auroc(t, s)))       {time.perf_counter() - start:8.2f} s")
    few = 10
    start = time.perf_counter()
    expected = loop(truth, score, patient, few)
    slow = (time.perf_counter() - start) / few * asked.resamples
    print(f"a loop over scikit-learn                           {slow:8.2f} s   from {few} resamples")
    weights = resample_weights(patient)[:few]
    worst = np.abs(macro_auroc.weighted(truth, score, weights) - expected).max()
    print(f"largest difference from scikit-learn over those    {worst:8.0e}     bar: 1e-12")
    print(f"{result}\ndifference of the two paths: {np.abs(np.subtract(result, plain)).max():.0e}")


if __name__ == "__main__":
    main()
