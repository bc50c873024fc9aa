"""The prompt bank: how a report would say that something is there, and how it would say otherwise."""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from einthoven.language.normalise import normalise

__all__ = ["Prompt", "Prompts", "prompts"]

OURS = "prompts.toml"  # as it is called where it goes wrong


class Prompt(NamedTuple):
    """Ways to say that a class is there, and ways to say otherwise; all normalised."""

    positive: tuple[str, ...]
    negative: tuple[str, ...]


class Prompts:
    """Prompts for each class in one or more languages.

    Example:
        >>> prompts().of("AFIB", "de").positive[0]
        'vorhofflimmern'
    """

    def __init__(self, told: Mapping[str, Any], name: str = OURS) -> None:
        self.name = name
        self.version, self.bank = _checked(told, name)
        self.classes: tuple[str, ...] = tuple(sorted(self.bank))

    def of(self, label: str, language: str | None = None) -> Prompt:
        """Return the prompts of a class in one language, or (None) in one after another."""
        if label not in self.bank:
            raise ValueError(
                f"{self.name} has no prompts for {label}: it has them for {', '.join(self.classes)}."
            )
        spoken = self.bank[label]
        if language is not None and language not in spoken:
            raise ValueError(
                f"{self.name} has no prompts for {label} in {language}: only in {', '.join(spoken)}."
            )
        chosen = spoken.values() if language is None else [spoken[language]]
        return Prompt(*(sum(lists, ()) for lists in zip(*chosen, strict=True)))


def prompts(path: Path | None = None) -> Prompts:
    """Read the prompt bank that comes with the package, or one of your own in the same form.

    Raises:
        ValueError: the file is missing or no TOML, or a class in it lacks prompts.
    """
    source = files("einthoven.language").joinpath(OURS) if path is None else path
    name = OURS if path is None else str(path)
    try:
        return Prompts(tomllib.loads(source.read_text("utf-8")), name)
    except OSError as wrong:
        raise ValueError(f"{name} cannot be read: {wrong.strerror}.") from wrong
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise ValueError(f"{name} is not TOML: {wrong}.") from wrong


def _checked(told: Mapping[str, Any], name: str) -> tuple[str, dict[str, dict[str, Prompt]]]:
    """Return the version and the bank, label to language to prompts."""
    version, classes = told.get("version"), told.get("class")
    if not isinstance(version, str) or not isinstance(classes, Mapping) or not classes:
        raise ValueError(
            f'{name} needs a line version = "1" and tables such as [class.MI.en] with the lists '
            "`positive` and `negative`."
        )
    bank: dict[str, dict[str, Prompt]] = {}
    for label, languages in classes.items():
        if not isinstance(languages, Mapping) or not languages:
            raise ValueError(f"{name} has no language for {label}: write a table [class.{label}.en].")
        bank[label] = {language: _prompt(said, label, language, name) for language, said in languages.items()}
    return version, bank


def _prompt(said: object, label: str, language: str, name: str) -> Prompt:
    lists = []
    for key in ("positive", "negative"):
        texts = said.get(key) if isinstance(said, Mapping) else None
        whole = isinstance(texts, list) and all(isinstance(text, str) and normalise(text) for text in texts)
        if not texts or not whole:
            raise ValueError(
                f"{name} needs a list of {key} prompts, none of them empty, for {label} in {language}."
            )
        lists.append(tuple(normalise(text) for text in texts))
    return Prompt(*lists)
