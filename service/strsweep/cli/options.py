"""The options that commands share; importing them takes no setting, no torch and no Ray."""

from __future__ import annotations

import os
from ast import literal_eval
from pathlib import Path
from typing import Annotated

import typer

from strsweep.errors import SettingError

_A_SWEEP = "Id of a sweep under the results folder, or its folder, or s3://BUCKET/PREFIX of it"


def _settings(incomplete: str) -> list[str]:
    """Return the settings that begin with what was typed, for the completion of a shell."""
    from strsweep.config.schema import settings_page

    names = dict.fromkeys(setting.name for setting in settings_page())
    return [f"{name}=" for name in names if name.startswith(incomplete)]


ConfigOption = Annotated[Path, typer.Option(help="The experiment, a YAML file: see strsweep init.")]
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
SweepConfigOption = Annotated[Path | None, typer.Option(help="The experiment that was started.")]
SweepsOption = Annotated[
    list[str], typer.Option("--sweep", metavar="SWEEP", help=f"{_A_SWEEP}. Can be repeated.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object; all that is said goes to stderr.")
]
ModelOption = Annotated[
    str, typer.Option(help="models:/NAME@ALIAS, models:/NAME/VERSION, or a model folder.")
]
UriOption = Annotated[
    str | None,
    typer.Option(help="MLflow; by default $MLFLOW_TRACKING_URI, or the results folder's database."),
]
DataOption = Annotated[
    Path | None, typer.Option(help="Folder of the data, if it moved since training.")
]
TrustOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODULE", help="A module of yours to import, if files name it. Repeatable."
    ),
]
BudgetOption = Annotated[
    str | None,
    typer.Option(
        help="Keep in every layer what this says: models:/NAME@ALIAS, a model folder, a budget as "
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
FolderOption = Annotated[Path, typer.Option(help="Folder for the files; it is created.")]
OwnModelOption = Annotated[
    str | None,
    typer.Option(help="my_module:factory, torchvision:NAME or one of ours; else one is chosen."),
]
OwnDataOption = Annotated[
    str | None,
    typer.Option(help="my_module:function, a folder with train/ and val/, or a data set of ours."),
]
OwnTaskOption = Annotated[
    str | None, typer.Option(help="my_module:Task, which brings its own data.")
]


def tracking_uri_of(option: str | None) -> str:
    """Return where models are registered: the option, MLflow's variable, or the results folder.

    Raises:
        SettingError: It is no address that MLflow can be asked at.
    """
    from strsweep.config import TrackingConfig

    uri = option or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        return TrackingConfig().uri
    try:
        return TrackingConfig(uri=uri).uri
    except SettingError as error:
        name = "--tracking-uri" if option else "MLFLOW_TRACKING_URI"
        raise SettingError(name, literal_eval(error.value), error.remedy) from None
