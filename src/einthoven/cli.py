"""The command line: parse, call one function, print. No logic lives here."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Learn from 12-lead ECGs when labels are few.",
)

# How long torch's threads spin for their next piece of work before they sleep, about 30 microseconds.
# The default (much longer) starves shared machines; not at all (passive) trains deep networks half as fast.
SPINS = "10000"
STOPPED = 130  # what typer makes of Ctrl-C
MISUSE: Any = typer.BadParameter.__mro__[2]  # click's own complaint, wherever typer keeps click
Store = Annotated[Path, typer.Argument(help="A store: a folder that `einthoven import` made.")]
Run = Annotated[Path, typer.Argument(help="A run folder: what `einthoven train` made.")]
Trust = Annotated[bool, typer.Option(help="Let the run load parts outside einthoven: executes their code.")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Repeatable.")]


@app.command()
def download(
    name: Annotated[str, typer.Argument(help="Which data set: ptbxl.")],
    folder: Annotated[Path, typer.Argument(help="Where to.")],
    only: Annotated[list[str] | None, typer.Option(help="Only files that start so, e.g. records100.")] = None,
    workers: Annotated[int, typer.Option(help="Connections at once.")] = 4,
) -> None:
    """Download a public data set; resumes, and verifies every file's SHA-256.

    Example: einthoven download ptbxl data/ptbxl --only records100
    """
    from einthoven.data.download import download as fetch
    from einthoven.show import counting

    with counting("Downloading") as progress:
        fetch(name, folder, only=tuple(only or ()), workers=workers, progress=progress)
    typer.echo(f"{folder} is complete. Next: einthoven import {name} {folder} stores/{name}")


@app.command("import")
def import_(
    source: Annotated[str, typer.Argument(help="How the files are laid out: `einthoven list sources`.")],
    path: Annotated[str, typer.Argument(help="The file or folder; - for a source that needs none.")],
    store: Annotated[Path, typer.Argument(help="The folder to make.")],
    hertz: Annotated[float, typer.Option(help="The rate of the store, Hz.")] = 100.0,
    labels: Annotated[Path | None, typer.Option(help="A CSV with record_id and more columns.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that read files.")] = 2,
    sets: Sets = None,
) -> None:
    """Import ECGs into a store; a killed import goes on where it was.

    Example: einthoven import csv exports/ stores/clinic --set hertz=500 --labels labels.csv
    """
    from einthoven import python, show

    options = show.options_of(sets)
    where = None if path == "-" else path
    with show.counting("Importing") as progress:
        made = python.import_(
            source,
            where,
            store,
            hertz=hertz,
            labels=labels,
            workers=workers,
            options=options,
            progress=progress,
        )
    typer.echo(show.store_told(made))


@app.command()
def join(
    stores: Annotated[list[Path], typer.Argument(help="Two stores or more, of one rate and length.")],
    out: Annotated[Path, typer.Option(help="The store to make.")],
) -> None:
    """Join stores into one; a killed join goes on where it was.

    Example: einthoven join stores/ptbxl stores/ludb --out stores/both
    """
    from einthoven import python, show

    with show.counting("Joining") as progress:
        made = python.join(stores, out, progress=progress)
    typer.echo(show.store_told(made))


@app.command("show")
def show_(
    path: Annotated[Path, typer.Argument(help="A store or a run.")],
    verify: Annotated[bool, typer.Option(help="Read a store's files again and check their sums.")] = False,
) -> None:
    """Show what a store or a run holds."""
    from einthoven import show

    typer.echo(show.told(path, verify=verify))


@app.command("list")
def list_(
    kind: Annotated[str, typer.Argument(help="backbones, heads, losses, augments, samplers ... or tasks.")],
    store: Annotated[Path | None, typer.Argument(help="For tasks: the store to look at.")] = None,
) -> None:
    """List the parts of a kind with their options, or the tasks of a store."""
    from einthoven import show

    typer.echo(show.tasks_told(store) if kind == "tasks" else show.parts_told(kind))


@app.command()
def audit(
    store: Store,
    task: Annotated[str, typer.Option(help="A task, a column, or 'column > number'.")],
    view: Annotated[str, typer.Option(help="What is seen of a report: full, masked, context.")] = "full",
    column: Annotated[str, typer.Option(help="The column that holds the reports.")] = "report",
    out: Annotated[Path | None, typer.Option(help="A .json file for the figures.")] = None,
) -> None:
    """Say what the reports of a store give away of a task, before a model reads them.

    Example: einthoven audit stores/ptbxl --task superdiag
    """
    from einthoven import python, show

    with show.counting("Auditing") as progress:
        how: dict[str, Any] = {"view": view, "column": column, "out": out}
        lines = python.audit(store, task, progress=progress, **how)
    typer.echo("\n".join(lines))


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A TOML file from recipes/.")],
    data: Annotated[Path, typer.Option(help="The store to learn from.")],
    out: Annotated[Path, typer.Option(help="The run folder to make.")],
    sets: Sets = None,
    resume: Annotated[bool, typer.Option(help="Go on with an unfinished run; keep a finished one.")] = False,
    start: Annotated[Path | None, typer.Option(help="A run whose backbone to begin with.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps; the fastest by default.")] = None,
    track: Annotated[list[str] | None, typer.Option(help="tensorboard or mlflow, beside log.csv.")] = None,
) -> None:
    """Train a recipe, evaluate it on the test split once, and write the report.

    Example: einthoven train recipes/demo/superdiag.toml --data stores/ptbxl --out runs/one
    """
    from einthoven import python, show

    changes = [*(sets or []), *([f"backbone.start={start}"] if start else [])]
    with show.training() as watch:
        how = {"sets": changes, "resume": resume, "device": device, "track": track or [], "watch": watch}
        python.train(recipe, data, out, **how)
    typer.echo(show.told(out))


@app.command()
def convert(
    which: Annotated[str, typer.Argument(help="Whose encoder: st-mem or ecg-jepa.")],
    file: Annotated[Path, typer.Argument(help="Your copy of its checkpoint, .pth or .safetensors.")],
    out: Annotated[Path, typer.Option(help="The run folder to make.")],
) -> None:
    """Convert a published encoder into a run folder that others start from; nothing in it is executed.

    Example: einthoven convert st-mem st_mem_vit_base_encoder.pth --out runs/st-mem
    """
    from einthoven import python

    made = python.convert(which, file, out, tell=typer.echo)
    typer.echo(f"Next: einthoven evaluate all {made} --data STORE --task TASK, or train ... --start {made}")


@app.command()
def bench(
    grid: Annotated[Path, typer.Argument(help="A TOML file from recipes/bench/.")],
    out: Annotated[Path, typer.Option(help="The folder for the runs and the table.")],
    data: Annotated[Path, typer.Option(help="The store to learn from.")] = Path("stores/ptbxl"),
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps; the fastest by default.")] = None,
    ray: Annotated[int, typer.Option(help="Spread the runs over so many workers of a Ray cluster.")] = 0,
) -> None:
    """Run a grid of recipes x tasks x seeds x arms, and write their table; resumes, keeps what is finished.

    Example: einthoven bench recipes/bench/demo.toml --data stores/ptbxl --out tables/demo
    """
    from einthoven import python, show

    with show.benching() as watch:
        made = python.bench(grid, data, out, device=device, ray=ray, watch=watch)
    typer.echo(show.table_told(made))


@app.command()
def compare(a: Run, b: Run) -> None:
    """Compare two runs on the same test records: paired, patient-clustered bootstrap."""
    from einthoven import show
    from einthoven.evaluate import compare_runs

    typer.echo(show.comparison_told(a, b, compare_runs(a, b)))


@app.command()
def predict(
    run: Run,
    files: Annotated[list[Path], typer.Argument(help="ECG files or folders.")],
    json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
    text: Annotated[str, typer.Option(help="A report to read beside each ECG, for a run that fuses.")] = "",
    sets: Sets = None,
    trust: Trust = False,
) -> None:
    """Say what a model thinks of ECG files, with the preprocessing saved in the run.

    Example: einthoven predict runs/one patient.csv --set hertz=500 --set units=uV
    """
    from einthoven import python, show

    with show.counting("Answering") as progress:
        how: dict[str, Any] = {"text": text, "trust": trust, "progress": progress}
        said = python.predict(run, files, show.options_of(sets), **how)
    typer.echo(said.to_json(orient="records", indent=1) if json else show.table(said))
    if text:
        typer.echo(show.read_told(run), err=True)


@app.command()
def embed(
    run: Run,
    store: Store,
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")],
    which: Annotated[str, typer.Option(help="The output to keep.")] = "features",
    trust: Trust = False,
) -> None:
    """Write one vector per ECG of a store that the model can read."""
    from einthoven import python, show

    with show.counting("Embedding") as progress:
        vectors = python.embed(run, store, which=which, trust=trust, progress=progress)
    typer.echo(show.saved(vectors, out, of=len(python.open(store))))


@app.command()
def distances(
    store: Store,
    out: Annotated[Path, typer.Option(help="The folder to make.")],
    distance: Annotated[str, typer.Option(help="One of `einthoven list distances`.")] = "dtw",
    sets: Sets = None,
) -> None:
    """Compute the distances between all raw ECGs of a store once, for distance `precomputed`.

    Example: einthoven distances stores/ptbxl --out stores/ptbxl-dtw --set band=0.1
    """
    from einthoven import python, show

    with show.counting("Comparing") as progress:
        made = python.distances(store, out, distance, show.options_of(sets), progress=progress)
    typer.echo(f'In a recipe: [loss.miner.distance] name = "precomputed", path = "{made}"')


@app.command()
def evaluate(
    what: Annotated[
        str, typer.Argument(help="probe, knn, retrieve, cluster, separability; all of them; leads; zeroshot.")
    ],
    run: Run,
    data: Annotated[Path, typer.Option(help="The store to judge on.")],
    task: Annotated[str | None, typer.Option(help="A task, a column, or 'column > number'.")] = None,
    out: Annotated[Path | None, typer.Option(help="A .json file; a map of the test ECGs beside it.")] = None,
    which: Annotated[str, typer.Option(help="The output to judge, e.g. embedding.")] = "features",
    sets: Sets = None,
    trust: Trust = False,
) -> None:
    """Judge the embeddings of a run, beside random weights; leads: the run itself, too, with fewer leads.

    zeroshot: a run that learned from reports (dual, concepts), on a task, by prompts instead of labels.

    Example: einthoven evaluate all runs/one --data stores/ptbxl --task superdiag
    """
    from einthoven import python, show

    how: dict[str, Any] = {"task": task, "out": out, "which": which, "trust": trust}
    with show.counting("Embedding") as progress:
        told = python.evaluate(what, run, data, options=show.options_of(sets), progress=progress, **how)
    typer.echo(show.evaluation_told(*told))


@app.command()
def report(run: Run) -> None:
    """Write a run's report again: one HTML page."""
    from einthoven.report import report as write

    typer.echo(f"Report: {write(run)}")


def main() -> None:
    """Run the command line: exit code 2 for a user's mistake, told in one line."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    try:
        if code := app(sys.argv[1:] or ["--help"], standalone_mode=False):
            fail("Stopped.") if code == STOPPED else sys.exit(code)
    except typer.Exit as asked:
        sys.exit(asked.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        fail("Stopped.")
    except ValueError as mistake:
        fail(" ".join(str(mistake).split()))
    except MISUSE as misuse:
        fail(misuse.format_message())


def fail(line: str) -> None:
    """Say one line and leave."""
    print(f"einthoven: {line}", file=sys.stderr)
    sys.exit(2)
