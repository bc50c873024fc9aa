"""Find parts by name and build them from tables. The file is the registration: nothing else lists it.

find("backbones", "xresnet1d101")        -> einthoven.backbones.xresnet1d101.XResNet1d101
find("backbones", "my_lab.nets:Wavelet") -> a part that lives outside this package
"""

import difflib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from einthoven.ecg import Signal

KINDS = (
    "backbones",
    "heads",
    "losses",
    "miners",
    "distances",
    "augments",
    "samplers",
    "methods",
    "texts",
    "fusions",
    "sources",
)
OURS = ("weight", "lr", "freeze", "start", "optional")  # keys that any part's table may have
Names = dict[str, inspect.Parameter]


def package(kind: str) -> Any:
    """Import the folder of a kind."""
    if kind not in KINDS:
        raise ValueError(f"No kind of part {kind!r}. Known: {', '.join(KINDS)}.{hint(kind, KINDS)}")
    return import_module(f"einthoven.data.{kind}" if kind == "sources" else f"einthoven.{kind}")


def names(kind: str) -> list[str]:
    """List the parts of a kind: the public files of its folder."""
    return sorted(m.name for m in pkgutil.iter_modules(package(kind).__path__) if m.name[0] != "_")


def hint(word: str, known: Iterable[str]) -> str:
    """Suggest the nearest known word, or nothing.

    >>> hint("hedz", ["head", "loss"])
    " Did you mean 'head'?"
    """
    near = difflib.get_close_matches(word, [str(name) for name in known], n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


def find(kind: str, name: str) -> Any:
    """Return the one thing that a part's file exports."""
    if ":" in name:
        return find_outside(kind, name)
    known = names(kind)
    if name not in known:
        raise ValueError(f"No {kind} part {name!r}. Known: {', '.join(known)}.{hint(name, known)}")
    module = import_module(f"{package(kind).__name__}.{name}")
    (export,) = module.__all__
    return getattr(module, export)


def find_outside(kind: str, name: str) -> Any:
    """Return a part that lives in somebody else's module."""
    path, _, attribute = name.partition(":")
    try:
        return getattr(import_module(path), attribute)
    except ImportError as missing:
        raise ValueError(f"{kind} part {name!r}: cannot import {path!r} ({missing}).") from missing
    except AttributeError as missing:
        raise ValueError(f"{kind} part {name!r}: {path!r} has no {attribute!r}.") from missing


def signature(part: Callable[..., Any]) -> tuple[Names, Names]:
    """Split a constructor at its star; `*args` (a module without `__init__`) names nothing."""
    asked = inspect.signature(part).parameters
    needs = {k: p for k, p in asked.items() if p.kind is p.POSITIONAL_OR_KEYWORD}
    return needs, {k: p for k, p in asked.items() if p.kind is p.KEYWORD_ONLY}


def frozen(value: Any) -> Any:
    """Turn the lists of a TOML file into tuples: parts compare and hash."""
    if isinstance(value, list | tuple):
        return tuple(frozen(item) for item in value)
    return {k: frozen(v) for k, v in value.items()} if isinstance(value, dict) else value


def call(part: Callable[..., Any], table: Mapping[str, Any], *, where: str) -> Any:
    """Call a plain thing (Signal, Schedule) with the table `[where]`; unknown keys are refused."""
    asked = {name: option for group in signature(part) for name, option in group.items()}
    given = frozen(dict(table))
    for key, value in given.items():
        if key not in asked:
            raise ValueError(f"[{where}] has no option {key!r}. Known: {', '.join(asked)}.{hint(key, asked)}")
        refuse_unfit(f"[{where}] {key}", value, asked[key].annotation)
    try:
        return part(**given)
    except TypeError as wrong:
        raise ValueError(f"[{where}]: {wrong}.") from wrong


def fits(value: Any, annotation: Any) -> bool:
    """Say whether a value from a recipe is of an annotated type; what cannot be checked, fits."""
    inner = get_args(annotation)
    if annotation in (int, float):
        return isinstance(value, (int, annotation)) and not isinstance(value, bool)
    if annotation in (str, bool, NoneType):
        return isinstance(value, annotation)
    match get_origin(annotation):
        case origin if origin is Literal:
            return value in inner
        case origin if origin in (Union, UnionType):
            return any(fits(value, one) for one in inner)
        case origin if origin is Mapping:
            return isinstance(value, Mapping)
        case origin if origin is Sequence or (origin is tuple and inner[-1] is ...):
            return isinstance(value, tuple) and all(fits(one, inner[0]) for one in value)
        case origin if origin is tuple:
            pairs = zip(value, inner, strict=False) if isinstance(value, tuple) else ()
            return isinstance(value, tuple) and len(value) == len(inner) and all(fits(*p) for p in pairs)
    return True


def refuse_unfit(what: str, value: Any, annotation: Any) -> None:
    """Refuse a value that an option cannot take, and say what it can."""
    if not fits(value, annotation):
        wanted = inspect.formatannotation(annotation).replace("typing.", "").replace("collections.abc.", "")
        if get_origin(annotation) is Literal:
            wanted = f"one of {', '.join(map(repr, get_args(annotation)))}"
        raise ValueError(f"{what} is {wanted}; got {value!r}.")


def build(kind: str, table: Mapping[str, Any], **offers: Any) -> Any:
    """Build one part from its table; extra words are offers to its constructor.

    A backbone among the offers also offers its width, so this is a network for 71 labels:

    >>> backbone = build("backbones", {"name": "resnet1d_wang"})
    >>> head = build("heads", {"name": "linear"}, backbone=backbone, labels=71)
    >>> sum(w.numel() for w in (*backbone.parameters(), *head.parameters()))
    481863
    """
    given: dict[str, Any] = {"wants": Signal()} | offers
    if "backbone" in given:
        given = {"dim": given["backbone"].dim} | given
    return Builder(given).build(kind, table)


class Builder:
    """Builds parts from tables; what one part is, it offers by name to the next.

    Before the star of a constructor stands what the house offers, after it what a recipe may set.
    """

    def __init__(
        self,
        offers: Mapping[str, Any],
        finish: Callable[[str, Any, Mapping[str, Any]], None] = lambda kind, part, table: None,
    ):
        self.offers, self.finish = dict(offers), finish
        self.taken: set[str] = set()

    def build(self, kind: str, table: Mapping[str, Any]) -> Any:
        """Build one part and everything that its table nests."""
        if not isinstance(table.get("name"), str):
            raise ValueError(f"A table of {kind} needs a name. Known: {', '.join(names(kind))}.")
        part = find(kind, table["name"])
        needs, options = signature(part)
        said = {key: value for key, value in table.items() if key not in ("name", *OURS)}
        for key in said:
            if key not in options:
                known = f" Known: {', '.join(options)}." if options else " It has none."
                raise ValueError(
                    f"{kind} part {table['name']!r} has no option {key!r}.{known}{hint(key, options)}"
                )
        given = {key: self.offers[key] for key in needs if key in self.offers}
        self.taken |= given.keys()
        given |= {key: self.option(options[key], value) for key, value in said.items()}
        self.check(table["name"], needs | options, given)
        try:
            made = part(**given)
        except TypeError as wrong:
            raise ValueError(f"{kind} part {table['name']!r}: {wrong}.") from wrong
        self.finish(kind, made, table)
        return made

    def option(self, parameter: inspect.Parameter, value: Any) -> Any:
        """Build an option that is itself a part (or none), or several: its annotation says so."""
        annotation = parameter.annotation
        either = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
        if one := [arg.kind for arg in either if hasattr(arg, "kind")]:
            if not isinstance(value, Mapping):
                raise ValueError(f"Option {parameter.name!r} is a table with a name; got {value!r}.")
            return self.build(one[0], value)
        if several := [arg.kind for arg in get_args(annotation) if hasattr(arg, "kind")]:
            return [self.build(several[0], table) for table in value]
        refuse_unfit(f"Option {parameter.name!r}", frozen(value), annotation)
        return frozen(value)

    def check(self, name: str, asked: Names, given: Mapping[str, Any]) -> None:
        """Refuse a part that would lack something, or get something of the wrong kind."""
        for key, want in asked.items():
            if key not in given and want.default is want.empty:
                raise ValueError(f"Part {name!r} needs {key!r}, which this recipe does not provide.")
            abstract = want.annotation if hasattr(want.annotation, "kind") else object
            if key in given and not isinstance(given[key], abstract):
                raise ValueError(
                    f"Part {name!r} needs a {abstract.__name__}; {type(given[key]).__name__} is none."
                )
