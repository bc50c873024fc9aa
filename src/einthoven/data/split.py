"""Who is trained on, who is chosen on, who is tested on: whole patients, never in two splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from einthoven.parts import call

NAMES = ("train", "validation", "test")
Held = Mapping[str, int]  # patient -> side (place in NAMES) in the runs that this one starts from
TAUGHT = 0  # the fold of a joined store's records that have none: always for training, never to test on


@dataclass(frozen=True)
class Rule:
    """How a recipe's [split] divides records.

    `by = "fold"`: the official folds of the store. `by = "patient"`: patients drawn by `seed` in
    the given `shares`, stratified by label. `by = "auto"`: folds where every record has one.
    Records of fold 0, which `einthoven join` gives to those of a store without folds, are trained on
    wherever folds divide; patients are drawn from them as from all others.

    `keep` is the share of the training patients to learn from, drawn by `draw`; a smaller share is part
    of a larger one. `thin` does so for a subgroup: `{column = "sex", equal = "female", keep = 0.05}`, or
    `{column = "age", least = 75, keep = 0.05}`; everybody else stays. `after` names a run: its patients
    stay where they stood in it, as they do in a run that starts from it.
    """

    by: Literal["auto", "fold", "patient"] = "auto"
    train: Sequence[int] = (1, 2, 3, 4, 5, 6, 7, 8)
    validation: Sequence[int] = (9,)
    test: Sequence[int] = (10,)
    shares: Sequence[float] = (0.8, 0.1, 0.1)
    seed: int = 0
    draw: int = 0
    keep: float = 1.0
    thin: Mapping[str, Any] | None = None
    after: str = ""

    def __post_init__(self) -> None:
        if len(self.shares) != 3 or min(self.shares) <= 0:
            raise ValueError(f"[split] shares are three numbers above 0, got {list(self.shares)}.")
        if not 0 < self.keep <= 1:
            raise ValueError(f"[split] keep is a share of the training patients, above 0; got {self.keep:g}.")


@dataclass(frozen=True)
class Split:
    """Rows of the store, in rising order."""

    train: Int[np.ndarray, " train"]
    validation: Int[np.ndarray, " validation"]
    test: Int[np.ndarray, " test"]
    by: str
    candidates: Int[np.ndarray, " candidate"]  # for training, before `keep` and `thin` left some of them

    def named(self) -> dict[str, Int[np.ndarray, " row"]]:
        """Return the three by name."""
        return {name: getattr(self, name) for name in NAMES}


def patients_named(records: pd.DataFrame) -> bool:
    """Say whether any record has a patient id of its own; otherwise each counts as its own patient."""
    return bool((records["patient_id"] != records["record_id"]).any())


def divide(
    records: pd.DataFrame,
    rows: Int[np.ndarray, " row"],
    truth: Float[np.ndarray, "row label"],
    rule: Rule,
    held: Held = MappingProxyType({}),
) -> Split:
    """Divide rows of a store; `truth` (NaN unknown) is theirs, for stratification.

    Patients that are `held` stay where they stood in earlier runs; official folds that would test on whom
    those learned from are refused.
    """
    patient = records["patient_id"].to_numpy(dtype=object)[rows]
    folds = records["fold"].iloc[rows] if "fold" in records else pd.Series(pd.NA, rows)
    has_folds = divisible(folds, rule)
    if rule.by == "fold" and not has_folds:
        raise ValueError("[split] by = 'fold', but some records have no fold; use by = 'patient'.")
    if rule.by == "patient" or not has_folds:
        side = by_patient(patient, truth, rule, held)
        how = f"patients, seed {rule.seed}"
    else:
        side, how = by_fold(folds.to_numpy(dtype=np.int64), rule)
    refuse_leaks(patient, side)
    refuse_learned(patient, side, held)
    taught = np.flatnonzero(side == 0)
    side[taught[~left(records.iloc[rows[taught]], patient[taught], rule)]] = -1
    parts = [rows[side == number] for number in range(3)]
    for name, part in zip(NAMES, parts, strict=True):
        if not len(part):
            told = f"{len(rows)} labelled ones of {len(set(patient))} patients were divided by {how}"
            if learned := sum(held.get(who) == 0 for who in set(patient)):
                told += f"; the run that this one starts from has learned from {learned} of them"
            if name == "train" and len(taught):
                told = f"[split] keep and thin left none of {len(taught)}; raise them"
            raise ValueError(f"The {name} split has no record: {told}.")
    return Split(parts[0], parts[1], parts[2], how, rows[taught])


@dataclass(frozen=True, kw_only=True)
class Thin:
    """A subgroup to keep a share of: patients with an ECG whose `column` is `equal`, or at least `least`."""

    column: str
    keep: float
    equal: str | float | None = None
    least: float | None = None

    def __post_init__(self) -> None:
        if (self.equal is None) == (self.least is None) or not 0 <= self.keep <= 1:
            raise ValueError("[split.thin] needs a column, keep (0 to 1), and either equal or least.")

    def group(self, records: pd.DataFrame) -> Bool[np.ndarray, " record"]:
        """Say who is in the subgroup; who is unknown is not."""
        if self.column not in records:
            known = ", ".join(map(str, records.columns))
            raise ValueError(f"[split.thin] no column {self.column!r} in the store. Known: {known}.")
        values = records[self.column]
        if self.least is not None:
            number = pd.to_numeric(values, errors="coerce").to_numpy(float, na_value=np.nan)
            return np.asarray(number >= self.least)
        if any(isinstance(value, list | tuple | np.ndarray) for value in values.head(1000)):
            raise ValueError(f"[split.thin] column {self.column!r} holds lists; name one of plain values.")
        return np.asarray((values == self.equal).fillna(False).to_numpy(dtype=bool))


def left(records: pd.DataFrame, patient: np.ndarray, rule: Rule) -> Bool[np.ndarray, " row"]:
    """Say which training records `keep` and `thin` leave: whole patients."""
    _, owner = np.unique(patient.astype(str), return_inverse=True)
    every = np.ones(owner.max(initial=-1) + 1, dtype=bool)
    stay = drawn(every, rule.keep, rule.draw)
    if rule.thin is not None:
        thin: Thin = call(Thin, rule.thin, where="split.thin")
        group = thin.group(records)
        if not group.any():
            raise ValueError(
                f"[split.thin] no training record is of the subgroup {described(records, thin)}."
            )
        member = np.zeros(len(every), dtype=bool)
        member[owner[group]] = True
        stay &= ~member | drawn(member & stay, thin.keep, rule.draw)
    return np.asarray(stay[owner])


def described(records: pd.DataFrame, thin: Thin) -> str:
    """Name a subgroup, and some values of its column, for who has misspelt it."""
    if thin.least is not None:
        return f"{thin.column} >= {thin.least:g}"
    some = ", ".join(map(repr, records[thin.column].dropna().unique()[:5].tolist()))
    return f"{thin.column} = {thin.equal!r}; values: {some}"


def drawn(group: Bool[np.ndarray, " patient"], share: float, seed: int) -> Bool[np.ndarray, " patient"]:
    """Draw a share of the patients of a group; a smaller share is part of a larger one."""
    luck = np.where(group, np.random.default_rng((seed, 0x5EED)).random(len(group)), np.inf)
    chosen = np.zeros(len(group), dtype=bool)
    chosen[np.argsort(luck)[: round(share * group.sum())]] = True
    return chosen


def divisible(folds: pd.Series, rule: Rule) -> bool:
    """Say whether folds can divide these records; refuse to draw patients where they only nearly can."""
    known = folds.dropna()
    taught, untold = int((known == TAUGHT).sum()), len(folds) - len(known)
    if rule.by == "auto" and taught and untold:
        raise ValueError(
            f"{untold:,} of {len(folds):,} records have no fold, while {taught:,} have fold 0, which is "
            "never tested on: give those a fold (import with --labels, join again), or draw patients from "
            "all of them with [split] by = 'patient'."
        )
    return not untold and taught < len(known)


def by_fold(fold: Int[np.ndarray, " row"], rule: Rule) -> tuple[Int[np.ndarray, " row"], str]:
    """Give each record to the split of its fold (-1: none); say how."""
    side = np.full(len(fold), -1)
    for number, name in enumerate(NAMES):
        side[np.isin(fold, list(getattr(rule, name)))] = number
    taught = fold == TAUGHT
    side[taught] = 0
    without = f" ({taught.sum():,} ECGs without one are trained on)" if taught.any() else ""
    return side, f"folds of the store{without}"


def refuse_learned(patient: np.ndarray, side: Int[np.ndarray, " row"], held: Held) -> None:
    """Refuse to choose or test on patients whom an earlier run has learned from."""
    before = np.array([held.get(who, len(NAMES)) for who in patient.astype(str)], dtype=np.int64)
    seen = set(patient[(side >= 0) & (before < side)])
    if seen:
        raise ValueError(
            f"{len(seen)} patients of the validation or test split were learned from or chosen on by the run "
            "that this one starts from: divide both alike ([split]), or start from another run."
        )


def refuse_leaks(patient: np.ndarray, side: Int[np.ndarray, " row"]) -> None:
    """Refuse a patient who stands in two splits."""
    seen = pd.DataFrame({"patient": patient, "side": side})[side >= 0].drop_duplicates()
    twice = seen.loc[seen["patient"].duplicated(), "patient"].tolist()
    if twice:
        both = [NAMES[s] for s in sorted(seen.loc[seen["patient"] == twice[0], "side"])]
        raise ValueError(
            f"Patient {twice[0]!r} stands in {' and '.join(both)} ({len(twice)} such patients): "
            "the test would not be honest. Use [split] by = 'patient', or mend the folds."
        )


def by_patient(
    patient: np.ndarray,
    truth: Float[np.ndarray, "row label"],
    rule: Rule,
    held: Held = MappingProxyType({}),
) -> Int[np.ndarray, " row"]:
    """Give each patient to the split that most lacks the patient's rarest label.

    The rarest label first, as in Sechidis et al. 2011 (doi:10.1007/978-3-642-23808-6_10), with
    patients in the place of samples. Those that are held stay where they stood.
    """
    names, owner = np.unique(patient.astype(str), return_inverse=True)
    count = len(names)
    positive = np.nan_to_num(np.column_stack([strata(truth), np.ones(len(truth))]))
    have = np.zeros((count, positive.shape[1]))
    np.add.at(have, owner, positive)
    share = np.array(rule.shares) / np.sum(rule.shares)
    lack = np.outer(share, have.sum(0))
    total = have.sum(0)
    rarest = np.where(have > 0, total, np.inf).argmin(1)
    chance = np.random.default_rng(rule.seed).random(count)
    side = np.array([held.get(name, -1) for name in names], dtype=np.int64)
    for number in range(len(NAMES)):
        lack[number] -= have[side == number].sum(0)
    order = np.lexsort((chance, -have.sum(1), total[rarest]))
    for who in order[side[order] < 0]:
        wish = lack[:, rarest[who]] + 1e-3 * lack[:, -1] / max(total[-1], 1)
        side[who] = int(wish.argmax())
        lack[side[who]] -= have[who]
    return side[owner]


def strata(truth: Float[np.ndarray, "row label"]) -> Float[np.ndarray, "row stratum"]:
    """Return labels as they are, and numbers as quarters of their range of ranks."""
    if np.isin(truth[~np.isnan(truth)], (0, 1)).all():
        return truth
    rank = pd.Series(truth[:, 0]).rank(pct=True).to_numpy()
    return np.column_stack([(rank > low) & (rank <= low + 0.25) for low in (0, 0.25, 0.5, 0.75)]).astype(
        float
    )
