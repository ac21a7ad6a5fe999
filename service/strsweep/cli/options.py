"""The options that commands share; importing them takes no setting, no torch and no Ray."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

_A_SWEEP = "Id of a sweep under the results folder, or its folder, or s3://BUCKET/PREFIX of it"


def _settings(incomplete: str) -> list[str]:
    """Return the settings that begin with what was typed, for the completion of a shell."""
    from strsweep.config.schema import settings_page

    names = dict.fromkeys(setting.name for setting in settings_page())
    return [f"{name}=" for name in names if name.startswith(incomplete)]


def _expanded(given: Any) -> Any:
    """Replace the ``~`` of --out=~/x, which a shell leaves as it is."""
    if isinstance(given, list):
        return [_expanded(one) for one in given]
    if not str(given).startswith("~"):
        return given
    try:
        return type(given)(Path(given).expanduser())
    except RuntimeError:
        raise typer.BadParameter(f"{given} begins with a user that is not known.") from None


def _place(told: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=told, callback=_expanded, **more)


ConfigOption = Annotated[Path, _place("The experiment, a YAML file: see strsweep init.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Override a setting, e.g. --set training.epochs=10. Can be repeated; strsweep config "
        "shows all settings.",
        autocompletion=_settings,
    ),
]
SweepArgument = Annotated[
    str | None, typer.Argument(metavar="[SWEEP]", help=f"{_A_SWEEP}, instead of --config.")
]
SweepConfigOption = Annotated[Path | None, _place("The experiment that was started.")]
SweepsOption = Annotated[
    list[str], _place(f"{_A_SWEEP}. Can be repeated.", "--sweep", metavar="SWEEP")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object; all that is said goes to stderr.")
]
ModelOption = Annotated[str, _place("models:/NAME@ALIAS, models:/NAME/VERSION, or a model folder.")]
UriOption = Annotated[
    str | None,
    typer.Option(help="MLflow; by default $MLFLOW_TRACKING_URI, or the results folder's database."),
]
DataOption = Annotated[Path | None, _place("Folder of the data, if it moved since training.")]
TrustOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODULE", help="A module of yours to import, if files name it. Repeatable."
    ),
]
BudgetOption = Annotated[
    str | None,
    _place(
        "Keep in every layer what this says: models:/NAME@ALIAS, a model folder, a budget as "
        ".json or .csv, or TABLE.csv#90.23 for a column of the authors' table.",
    ),
]
MethodOption = Annotated[
    str | None, typer.Option(help="What obeys the budget: gmp (by default) or dnw.")
]
MinutesOption = Annotated[
    float | None,
    typer.Option(min=0, help="Of one run on its workers; by default it is timed here."),
]
SlotsOption = Annotated[int, typer.Option(min=1, help="Runs that the cluster holds at once.")]
FormatOption = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        help="dense (safetensors), program (pt2) or onnx. Can be repeated; by default all three.",
    ),
]
FolderOption = Annotated[Path, _place("Folder for the files; it is created.")]
ComparisonOption = Annotated[Path | None, _place("By default comparison/ in the results.")]
FileOption = Annotated[Path, _place("File to write.")]
OwnModelOption = Annotated[
    str | None,
    typer.Option(help="my_module:factory, torchvision:NAME or one of ours; else one is chosen."),
]
OwnDataOption = Annotated[
    str | None,
    _place("my_module:function, a folder with train/ and val/, or a data set of ours."),
]
OwnDataPathOption = Annotated[Path | None, _place("Folder of a data set of ours.")]
OwnTaskOption = Annotated[
    str | None, typer.Option(help="my_module:Task, which brings its own data.")
]


def tracking_uri_of(option: str | None) -> str:
    """Return where models are registered: the option, MLflow's variable, or the results folder.

    Raises:
        SettingError: It is no address that MLflow can be asked at.
    """
    from strsweep.config import TrackingConfig
    from strsweep.config.addresses import tracking_address

    uri = option or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        return TrackingConfig().uri
    return tracking_address(uri, setting="--tracking-uri" if option else "MLFLOW_TRACKING_URI")
