"""The commands. Each imports what it needs when it runs: torch, Ray and MLflow take seconds."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strsweep import __version__
from strsweep.cli import answers, options
from strsweep.cli.endings import DELIVERED, FAILED, answering, exit_codes, stops_in_order
from strsweep.errors import SettingError, nearest
from strsweep.imports import trusting
from strsweep.progress import doing

if TYPE_CHECKING:
    from strsweep.config import Experiment

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Name the sparsities you want; a Ray cluster hands you the trained sparse models.",
    epilog="Exit code 0: what was asked for is there; 1: something is missing; 2: wrong input.",
)


def main(*command: str) -> None:
    """Run the command line; ``command`` goes before what was typed: a job is one command."""
    app(args=[*command, *sys.argv[1:]], prog_name="strsweep")


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"strsweep {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    _: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False,
) -> None: ...


@app.command()
def init(
    model: options.OwnModelOption = None,
    data: options.OwnDataOption = None,
    data_path: options.OwnDataPathOption = None,
    task: options.OwnTaskOption = None,
    out: options.FileOption = Path("my.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write an experiment for your model and data or task, with what was found as comments.

    Without options it is a first sweep on scikit-learn's digits. The file is checked as by plan.
    Exit code 0: it can be swept as it is; 2: it cannot, and the message names what to change.
    """
    with exit_codes():
        from strsweep.cli.starter import Brought, write_experiment

        write_experiment(Brought(model, task, data, data_path), out, force=force)


@app.command()
def config(
    setting: Annotated[str | None, typer.Argument(help="SECTION or SECTION.KEY to show.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="JSON schema, for editors.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="docs/configuration.md.")] = False,
) -> None:
    """Print every setting of an experiment: its type, default and meaning.

    Exit code 0: it is printed; 2: there is no such setting.
    """
    with exit_codes():
        from strsweep.config import schema as page

        if schema:
            print(json.dumps(page.json_schema(), indent=2))
        else:
            print(page.markdown() if markdown else page.terminal_text(setting))


@app.command()
def plan(
    config: options.ConfigOption,
    overrides: options.SetOption = None,
    minutes_per_epoch: options.MinutesOption = None,
    slots: options.SlotsOption = 1,
    as_json: options.JsonOption = False,
) -> None:
    """Check the experiment and print first runs, epochs and hours; nothing is trained.

    Exit code 0: the sweep can be started; 2: the input is wrong.
    """
    step = doing("checking model and data, and timing a few steps")
    with answering(as_json=as_json) as answer, step:
        experiment = _loaded(config, overrides)
        from strsweep.plan import measured_plan, print_plan

        planned = measured_plan(experiment, minutes_per_epoch, slots)
        answer(planned.values, lambda: print_plan(planned))


@app.command()
def sweep(config: options.ConfigOption, overrides: options.SetOption = None) -> None:
    """Train sparse models at the targets of the experiment and register them in MLflow.

    The same command again continues: finished runs are kept, open ones go on.
    Exit code 0: every target is registered; 1: something is missing; 2: the input is wrong.
    """
    with exit_codes():
        _train(_loaded(config, overrides), is_sweep=True)


@app.command()
def train(
    config: options.ConfigOption,
    overrides: options.SetOption = None,
    budget: options.BudgetOption = None,
    method: options.MethodOption = None,
) -> None:
    """Train one run with a fixed threshold init and decay, or with a layer budget; no search.

    Exit code 0: the model is registered; 1: it is not; 2: the input is wrong.
    """
    with exit_codes():
        if budget is not None:
            experiment = _budgeted(config, overrides or [], budget, method or "gmp")
        elif method is not None:
            raise SettingError("--method", method, "It obeys a budget: name one by --budget.")
        else:
            experiment = _loaded(config, overrides)
        _train(experiment, is_sweep=False)


@app.command()
def status(
    sweep: options.SweepArgument = None,
    config: options.SweepConfigOption = None,
    overrides: options.SetOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Print targets and runs of a sweep, while it runs or after, from its journal alone.

    Exit code 0: they are printed; 1: the storage cannot be read; 2: there is no such sweep.
    """
    with answering(as_json=as_json) as answer:
        from strsweep.status import print_status, recorded, status_of

        found = recorded(sweep, config and _loaded(config, overrides))
        values = status_of(found)
        answer(values, lambda: print_status(found, values))


@app.command()
def report(
    sweep: options.SweepArgument = None,
    config: options.SweepConfigOption = None,
    overrides: options.SetOption = None,
) -> None:
    """Write the report of a sweep, while it runs or after, from its journal alone.

    Exit code 0: it is written; 1: the storage refuses; 2: there is no such sweep.
    """
    with exit_codes(), doing("reading the sweep"):
        from strsweep.report import write_report
        from strsweep.status import recorded

        print(write_report(recorded(sweep, config and _loaded(config, overrides))))


@app.command()
def publish(
    config: options.ConfigOption,
    overrides: options.SetOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Bring MLflow up to the journal of a sweep and register its models, from its storage alone.

    The data is needed only for a model whose files no job has written yet. What is there already is
    found and left alone, so it can be run at any time and as often as you like.
    Exit code 0: every target is registered; 1: something is missing; 2: the input is wrong.
    """
    step = doing("registering what the journal has and MLflow lacks")
    with answering(as_json=as_json) as answer, step:
        experiment = _loaded(config, overrides)
        from strsweep.registry import print_delivery, publish_journal

        delivery = publish_journal(experiment)
        values = answers.delivery_values(delivery)
        answer(values, lambda: print_delivery(experiment, delivery))
        raise typer.Exit(DELIVERED if delivery.is_complete else FAILED)


@app.command()
def evaluate(
    model: options.ModelOption,
    tracking_uri: options.UriOption = None,
    data_path: options.DataOption = None,
    trust: options.TrustOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Print score, sparsity and MACs of a model beside what its receipt says.

    Exit code 0: the zeros are those of the receipt; 1: they are not; 2: the input is wrong.
    """
    with answering(as_json=as_json) as answer, doing(f"evaluating {model}"):
        from strsweep.packages import evaluate_model

        uri = options.tracking_uri_of(tracking_uri)
        result = evaluate_model(model, uri, data_path, trust or ())
        answer(answers.evaluation_values(result), lambda: answers.print_evaluation(result))
        raise typer.Exit(DELIVERED if result.zeros == result.receipt.zeros else FAILED)


@app.command()
def export(
    model: options.ModelOption,
    out: options.FolderOption,
    formats: options.FormatOption = None,
    tracking_uri: options.UriOption = None,
    data_path: options.DataOption = None,
    trust: options.TrustOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Export a model, load every file back, and compare its outputs with the model's.

    Exit code 0: every file is written and computes the same; 1: one does not, which stops no other,
    or the weights cannot be read; 2: the input is wrong.
    """
    with answering(as_json=as_json) as answer, doing(f"exporting {model}"):
        from strsweep.packages import export_model, print_exports

        uri = options.tracking_uri_of(tracking_uri)
        exports = export_model(model, formats or [], out, uri, data_path, trust or ())
        answer(answers.exports_values(exports), lambda: print_exports(exports))
        raise typer.Exit(FAILED if exports.failed else DELIVERED)


@app.command()
def compare(
    sweeps: options.SweepsOption,
    out: options.ComparisonOption = None,
    trust: options.TrustOption = None,
) -> None:
    """Put several sweeps or methods into one report: fronts overlaid, models and cost side by side.

    Writes comparison.html, report.json and models.csv; nothing is trained or changed.
    Exit code 0: they are written; 2: a sweep cannot be found or read, or has another metric.
    """
    with exit_codes(), doing("reading the sweeps"), trusting(trust or ()):
        from strsweep.config.addresses import results_folder
        from strsweep.report import COMPARISON, comparison_files, read_sweep
        from strsweep.storage import check_writable

        files = comparison_files([read_sweep(reference) for reference in sweeps])
        check_writable(folder := out or results_folder() / "comparison", "--out", who="this job")
        for name, content in files.items():
            (folder / name).write_bytes(content)
        print(folder.absolute() / COMPARISON)


def _loaded(config: Path, overrides: Sequence[str] | None) -> Experiment:
    from strsweep.config import load_experiment

    return load_experiment(config, overrides or [])


def _budgeted(config: Path, overrides: Sequence[str], reference: str, method: str) -> Experiment:
    """Return the experiment of one run that keeps in every layer what a budget says."""
    from strsweep.packages import read_budget
    from strsweep.sparsity.methods import BUILT_IN

    known = [mode for mode, kind in BUILT_IN.items() if "budget" in kind.model_fields]
    if method not in known:
        remedy = f"{nearest(method, known)}These obey a budget: {', '.join(known)}."
        raise SettingError("--method", method, remedy)

    def load(densities: Mapping[str, float]) -> Experiment:
        obeyed = f"sparsity.budget={json.dumps(dict(densities))}"
        return _loaded(config, [*overrides, f"sparsity.mode={method}", obeyed])

    uri = load({}).tracking.uri  # only the file says where MLflow is
    return load(read_budget(reference, uri).densities)


def _train(experiment: Experiment, *, is_sweep: bool) -> None:
    """Train what ``experiment`` describes, register what it gives, and end with the exit code."""
    from strsweep.api import trained_and_registered

    delivery = trained_and_registered(experiment, is_sweep=is_sweep, guard=stops_in_order)
    from strsweep.registry import print_delivery

    print_delivery(experiment, delivery)
    raise typer.Exit(DELIVERED if delivery.is_complete else FAILED)
