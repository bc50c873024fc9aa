"""Write the report of a run: one HTML file that needs nothing else, no network and no script."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from einthoven import __version__
from einthoven.data.files import write_text
from einthoven.report import cases, drawn, reported, sections, words
from einthoven.report.facts import facts
from einthoven.report.folder import Run, read_run

HERE = Path(__file__).parent


def report(run: Path) -> Path:
    """Read a finished run folder and write `report.html` into it; return that file's path."""
    page = run / "report.html"
    write_text(page, render(read_run(run)))
    return page


def render(run: Run) -> str:
    """Return the whole page."""
    house = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return house.get_template("page.html").render(context(run)) + "\n"


def context(run: Run) -> dict[str, Any]:
    """Gather what the template shows."""
    return {
        "style": (HERE / "style.css").read_text(encoding="utf-8"),
        "version": __version__,
        "title": f"{words.task(run)} on {run.store.get('title', run.path.name)}",
        "name": run.path.name,
        "regression": run.regression,
        "unlabelled": run.unlabelled,
        "patients_named": run.patients_named,
        "synthetic": bool(run.store.get("synthetic")),
        "subset": words.subset(run),
        "flipped": words.flipped(run),
        "headline": words.headline(run),
        "data": sections.data(run),
        "learning": sections.learning(run),
        "drawn": drawn.drawings(run),
        "reported": reported.reported(run),
        "supervised": bool(run.results.get("report_supervised")),
        **judged(run),
        "facts": facts(run),
        "recipe": run.recipe.strip(),
        "environment": words.flat({k: v for k, v in run.environment.items() if k != "command"}),
        "command": words.command(run),
    }


def judged(run: Run) -> dict[str, Any]:
    """Gather what the answers are worth: nothing where a run learned without labels."""
    if run.unlabelled:
        return {}
    both = {
        "result": sections.result(run),
        "subgroups": sections.subgroups(run),
        "cases": cases.cases(run),
    }
    if run.regression:
        return both | {"numbers": sections.numbers(run)}
    return both | {
        "classes": sections.classes(run),
        "thresholds": sections.thresholds(run),
        "reliability": sections.reliability(run),
        "together": sections.together(run),
    }
