"""An audit as lines of text."""

from collections.abc import Mapping
from textwrap import wrap
from typing import Any

Told = Mapping[str, Any]
WIDTH = 110
MOST = 8  # labels shown; all are in the JSON


def lines(audit: Told) -> list[str]:
    """Return what is printed, the verdict first."""
    counts = " / ".join(f"{audit['counts'][name]['records']:,}" for name in ("train", "validation", "test"))
    made_up = " MADE-UP ECGs." if audit["store"]["synthetic"] else ""
    head = (
        f"{audit['store']['path']}: {audit['store']['title']}.{made_up} Task {audit['task']['name']}, "
        f"view {audit['view']}: {counts} ECGs with a text (train / validation / test)"
    )
    verdict = audit["verdict"]
    told = [
        f"Verdict: {verdict['word'].upper()}. {verdict['why']}",
        *row_lines(audit),
        *verbatim_lines(audit["verbatim"]),
        *mention_lines(audit["mentions"]),
        *(site_line(line) for line in audit["sites"]),
        *shift_lines(audit["shift"]),
        *curve_lines(audit["curve"]),
    ]
    return [head, *(part for line in told for part in wrap(line, WIDTH, subsequent_indent="    "))]


def row_lines(audit: Told) -> list[str]:
    """Tell what can be read off without an ECG."""
    told = []
    for row in audit["rows"]:
        figures = (
            f"RMSE {reach(row['rmse'])}, R² {reach(row['r2'])}"
            if "rmse" in row
            else f"macro AUROC {reach(row['auroc'])}"
        )
        told.append(f"{row['name']}: {figures}  [{row['what']}]")
        if row["name"] == "text only" and len(row.get("per_label", {})) > 1:
            told.append("  " + label_line(row["per_label"]))
    return told


def label_line(per_label: Told) -> str:
    """Tell the labels that the text tells best."""
    known = {name: line for name, line in per_label.items() if line["value"] is not None}
    best = sorted(known, key=lambda name: -known[name]["value"])
    more = f" and {len(per_label) - MOST} more" if len(per_label) > MOST else ""
    return ", ".join(f"{name} {reach(known[name])}" for name in best[:MOST]) + more


def verbatim_lines(told: Told) -> list[str]:
    """Tell what repeats."""
    if not told:
        return []
    both = (
        f"{percent(told[name]['all'])} of the {name} texts (not calling the ECG normal: "
        f"{percent(told[name]['not_normal'])})"
        for name in ("validation", "test")
    )
    return [
        f"verbatim: {' and '.join(both)} stand word for word in train",
        f"  {told['unique']:,} different texts in {told['texts']:,}; {percent(told['of_several_patients'])} "
        f"are those of several patients; {percent(told['normal'])} call the ECG normal",
    ]


def mention_lines(told: Told) -> list[str]:
    """Tell which reports name a label."""
    if not told:
        return []
    return [
        f"label mentions: {percent(told['either'])} of the reports name a code with its likelihood "
        f"({percent(told['coded'])}) or carry an edit ({percent(told['edited'])})"
    ]


def site_line(told: Told) -> str:
    """Tell how well a site is predicted."""
    return (
        f"{told['column']} from the text: {reach(told['accuracy'])} right; the largest of "
        f"{told['classes']} is {told['majority']:.3f} of the test records"
    )


def shift_lines(told: Told) -> list[str]:
    """Tell how the splits differ."""
    shown = {name: line for name, line in told.items() if any(line.values())}
    parts = (
        f"{name} {' / '.join(percent(share) for share in line.values())}" for name, line in shown.items()
    )
    return [f"train / validation / test: {', '.join(parts)}"] if shown else []


def curve_lines(told: Any) -> list[str]:
    """Tell what masking leaves."""
    if not told:
        return []
    name = "RMSE" if "rmse" in told[0] else "macro AUROC"
    key = "rmse" if "rmse" in told[0] else "auroc"
    widest = max(len(point["what"]) for point in told)
    return [
        f"masking: {name} of the text alone, and words left per text",
        *(f"  {point['what']:{widest}}  {reach(point[key])}  {point['words_left']:.1f}" for point in told),
    ]


def reach(figure: Mapping[str, float | None]) -> str:
    """Write a figure with its interval."""
    value, low, high = (figure[key] for key in ("value", "low", "high"))
    if value is None:
        return "undefined"
    return f"{value:.3f}" + ("" if low is None or high is None else f" ({low:.3f} to {high:.3f})")


def percent(share: float | None) -> str:
    """Write a share.

    >>> percent(0.3361), percent(None)
    ('33.6 %', 'none')
    """
    return "none" if share is None else f"{100 * share:.1f} %"
