"""Read an experiment from its YAML file and the command line; say what is wrong and why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from strsweep.config.experiment import Experiment
from strsweep.errors import InvalidExperimentError, SettingError
from strsweep.sparsity.methods import PRESETS, WRONG_SETTINGS

Settings = dict[str, Any]

_SET_BY_PRESET = ("search.threshold_init", "search.weight_decay", "search.decay")
_NOT_FOR_FILES = ("resolved",)
"""Of ``search``: what ``auto`` stood for."""
_UNION_PREFIXES = ("tuple[", "literal[", "dict[")
_UNION_MEMBERS = {"bool", "int", "float", "str", "constrained-float", "constrained-int"}


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read the file at ``path``, apply ``overrides`` and validate the whole.

    Args:
        path: A YAML 1.2 file.
        overrides: ``section.key=value`` each; the value is YAML, so lists and numbers work.

    Raises:
        SettingError: The file cannot be read, an override is malformed, or a rule between
            settings is broken.
        InvalidExperimentError: Settings are unknown, missing or of the wrong type or value.
    """
    settings = _read(path)
    for override in overrides:
        _apply(settings, override)
    _refuse_what_no_file_sets(settings)
    _apply_preset(settings, overrides)
    try:
        # JSON, so that strict mode takes lists for tuples.
        text = json.dumps(settings, default=str)
    except (TypeError, ValueError) as error:
        raise SettingError(
            "--config", str(path), f"It holds what no setting can be: {error}"
        ) from None
    try:
        experiment = Experiment.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise _translate(error) from None
    _refuse_relative_paths_in_uploaded_copy(experiment, settings)
    return experiment


def load_budget_experiment(
    path: Path, overrides: Sequence[str], method: str, densities: Mapping[str, float]
) -> Experiment:
    """Read the file at ``path`` for one run that obeys ``densities``, layer name -> share kept.

    Raises:
        SettingError: As ``load_experiment``.
        InvalidExperimentError: As ``load_experiment``.
    """
    budget = [f"sparsity.mode={method}", f"sparsity.budget={json.dumps(dict(densities))}"]
    return load_experiment(path, [*overrides, *budget])


def _read(path: Path) -> Settings:
    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError("--config", str(path), f"{error.strerror}: name a YAML file.") from None
    except UnicodeDecodeError:
        raise SettingError(
            "--config", str(path), "The file is not text: name a YAML file."
        ) from None
    except (YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise SettingError("--config", str(path), f"This is not valid YAML: {reason}") from None
    if not isinstance(content, dict):
        raise SettingError("--config", str(path), "The file must hold sections such as 'model:'.")
    return cast("Settings", content)


def _apply(settings: Settings, override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not all(key.split(".")):
        raise SettingError("--set", override, "Write section.key=value, e.g. training.epochs=30.")
    try:
        value = YAML(typ="safe").load(text)
    except (YAMLError, ValueError):
        raise SettingError("--set", override, "The value is not valid YAML.") from None
    *sections, last = key.split(".")
    for section in sections:
        inner: object = settings.setdefault(section, {})
        if not isinstance(inner, dict):
            raise SettingError("--set", override, f"{section!r} is not a section.")
        settings = cast("Settings", inner)
    settings[last] = value


def _refuse_what_no_file_sets(settings: Settings) -> None:
    search = settings.get("search")
    for key in _NOT_FOR_FILES:
        value: object = cast("Settings", search).get(key) if isinstance(search, dict) else None
        if value:
            raise SettingError(f"search.{key}", value, "It is written by the sweep, not set.")


def _apply_preset(settings: Settings, overrides: Sequence[str]) -> None:
    """Let ``sparsity.preset`` take the place of the values and ranges of the search."""
    sparsity, model = settings.get("sparsity"), settings.get("model")
    name: object = cast("Settings", sparsity).get("preset") if isinstance(sparsity, dict) else None
    if name is None:
        return
    if not isinstance(name, str) or name not in PRESETS:
        raise SettingError("sparsity.preset", name, f"The paper has: {', '.join(PRESETS)}.")
    trained = name.rpartition("-")[0]
    if isinstance(model, dict) and cast("Settings", model).get("name") != trained:
        raise SettingError(
            "sparsity.preset", name, f"It is for model.name={trained}: it does not carry over."
        )
    if any(text.partition("=")[0] in {"search", *_SET_BY_PRESET} for text in overrides):
        raise SettingError(
            "sparsity.preset",
            name,
            f"It sets {', '.join(_SET_BY_PRESET)}: leave out one or the other.",
        )
    search = settings.setdefault("search", {})
    if isinstance(search, dict):
        values = PRESETS[name].model_dump(include={"threshold_init", "weight_decay"})
        search.update(values, decay="shared")


def _translate(error: ValidationError) -> InvalidExperimentError:
    # A union reports one failure per member; the key is told once.
    by_key: dict[str, SettingError] = {}
    for details, kind in _flat(error):
        location = [part for part in details["loc"] if _is_setting(part)]
        key = ".".join(str(part) for part in location)
        by_key.setdefault(key, _setting_error(key, details, kind))
    # The same mistake deeper inside is told there: an entry of a budget that is a mapping.
    innermost = [
        setting
        for key, setting in by_key.items()
        if not any(other.startswith(f"{key}.") for other in by_key)
    ]
    return InvalidExperimentError(innermost)


def _flat(error: ValidationError) -> Iterator[tuple[ErrorDetails, type[BaseModel]]]:
    """Yield every mistake with the model that it is in: of a method, that is its own."""
    for details in error.errors():
        if details["type"] != WRONG_SETTINGS:
            yield details, Experiment
            continue
        carried = details["ctx"]  # pyright: ignore[reportTypedDictNotRequiredAccess]
        for inner in carried["errors"]:
            inner["loc"] = (*details["loc"], *inner["loc"])
            yield inner, carried["kind"]


def _is_setting(part: int | str) -> bool:
    # pydantic adds the members of a union to the path: "constrained-float", "tuple[float, float]".
    return (
        isinstance(part, str)
        and part not in _UNION_MEMBERS
        and not part.startswith(_UNION_PREFIXES)
    )


def _setting_error(key: str, details: ErrorDetails, kind: type[BaseModel]) -> SettingError:
    *sections, last = key.split(".")
    model = _section_model(sections) if kind is Experiment else kind
    meaning = _meaning(model, last)
    if details["type"] == "extra_forbidden":
        suggestion = _suggestion(model, last, ".".join(sections) or "the file")
        return SettingError(key, details["input"], f"There is no such setting. {suggestion}")
    if details["type"] == "missing" and not isinstance(details["loc"][-1], int):
        return SettingError(key, None, f"It must be set. {meaning}".strip())
    return SettingError(key, details["input"], f"{details['msg']}. {meaning}".strip())


def _suggestion(model: type[BaseModel], name: str, where: str) -> str:
    fields = [name for name in model.model_fields if name not in _NOT_FOR_FILES]
    close = get_close_matches(name, fields, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"{where} has: {', '.join(fields)}."


def _meaning(model: type[BaseModel], name: str) -> str:
    field = model.model_fields.get(name)
    return " ".join((field.description or "").split()) if field is not None else ""


def _section_model(sections: list[str]) -> type[BaseModel]:
    model: type[BaseModel] = Experiment
    for section in sections:
        field = model.model_fields.get(section)
        if field is None:
            break
        for kind in (field.annotation, *get_args(field.annotation)):  # one, or a tuple of them
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                model = kind
    return model


def _refuse_relative_paths_in_uploaded_copy(experiment: Experiment, settings: Settings) -> None:
    # `ray job submit --working-dir` runs in a copy of the tree that Ray deletes: a relative path
    # would put days of results into it.
    if "_ray_pkg_" not in str(Path.cwd()):
        return
    folder = experiment.storage.path
    for key, path in (
        ("storage.path", None if "://" in folder else Path(folder)),
        ("data.path", experiment.data.path),
        ("tracking.uri", experiment.tracking.database),
    ):
        if path is not None and (not path.is_absolute() or "_ray_pkg_" in str(path)):
            section, name = key.split(".")
            raise SettingError(
                key,
                settings.get(section, {}).get(name),
                "This job runs in a temporary copy of your files: give an absolute path, "
                "or set STRSWEEP_RESULTS in the job's environment for the results.",
            )
