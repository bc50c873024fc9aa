"""What TRIPOD+AI asks of a report on a prediction model, as far as a run folder knows it."""

import numpy as np

from einthoven.ecg import LEADS
from einthoven.report.folder import Run
from einthoven.report.words import duration, fixed, many, whose

KINDS = {
    "labels": "labels that may occur together",
    "multiclass": "one class of several",
    "regression": "a number",
    "unlabelled": "no answers; features alone",
}


def facts(run: Run) -> list[tuple[str, str]]:
    """List questions and answers."""
    store, task = run.store, run.results["task"]
    told = [
        ("Source of data", f"{store.get('title', 'unknown')}, store {store.get('fingerprint', 'unknown')}"),
        ("Participants", participants(run)),
        ("Test set", "took no part" if run.unlabelled else people(run)),
        ("Outcome", f"{task['name']}: {KINDS.get(task['kind'], task['kind'])}"),
        ("Predictors", f"the ECG{beside(run)}: {predictors(run)}"),
        ("Left out", left_out(run)),
        ("Splits", splits(run)),
        ("Intervals", "" if run.unlabelled else intervals(run)),
        ("External validation", "none in this run: how it does elsewhere is unknown"),
        ("Seed", str(run.environment.get("seed", "–"))),
        ("Device", str(run.environment.get("device", "–"))),
        ("Time", ", ".join(f"{stage} {duration(took)}" for stage, took in run.seconds.items())),
    ]
    return [(question, answer) for question, answer in told if answer]


def beside(run: Run) -> str:
    """Say what is read beside the ECG."""
    view = run.results.get("reports", {}).get("view")
    return f" for the result; its report, too (view {view}), in section Reports" if view else " only"


def participants(run: Run) -> str:
    """Count each split."""
    return "; ".join(f"{whose(run, count)} ({split})" for split, count in run.results["counts"].items())


def splits(run: Run) -> str:
    """Say what was kept apart."""
    if run.patients_named:
        return f"by {run.results.get('split', 'patient')}, no patient in two; the test set chose nothing"
    return (
        f"by {run.results.get('split', 'ECG')}; whose an ECG is, is unknown, so one person may be in two; "
        "the test set chose nothing"
    )


def intervals(run: Run) -> str:
    """Say what was resampled."""
    if run.patients_named:
        return "95 %, percentiles of a bootstrap that resamples patients, not ECGs"
    return (
        "95 %, percentiles of a bootstrap that resamples ECGs, each as a patient of its own: patients are "
        "unknown, and if some have several ECGs, the intervals are too narrow"
    )


def left_out(run: Run) -> str:
    """Count the records of the store that the task could not use, by reason."""
    reasons = run.results.get("left_out", {})
    return "; ".join(f"{many(number, 'ECG')}: {reason}" for reason, number in reasons.items() if number)


def predictors(run: Run) -> str:
    """Say what the network reads at a time."""
    signal = run.options.get("signal", {})
    read = f"{len(signal.get('leads', LEADS))} leads"
    if "seconds" in signal:
        read += f", windows of {signal['seconds']:g} s"
    return read + (f" at {signal['hertz']:g} Hz" if "hertz" in signal else "")


def people(run: Run) -> str:
    """Describe the patients of the test set, and for how many age or sex is unknown."""
    said = []
    if "age" in run.test:
        age = run.test["age"].to_numpy(np.float64)
        known = age[np.isfinite(age)]
        if len(known):
            low, middle, high = np.percentile(known, [25, 50, 75])
            said.append(f"age {middle:.0f} years (median; middle half {low:.0f} to {high:.0f})")
        said.append(f"{len(age) - len(known) or 'none'} without age")
    if "sex" in run.test:
        women, men = (int((run.test["sex"] == sex).sum()) for sex in ("female", "male"))
        if women + men:
            said.append(f"{fixed(100 * women / (women + men), 0)} % women")
        said.append(f"{len(run.test) - women - men or 'none'} without sex")
    return "; ".join(said) or "age and sex were not kept"
