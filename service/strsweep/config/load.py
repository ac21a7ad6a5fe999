"""Read an experiment from its YAML file and the command line; say what is wrong and why."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from strsweep.config.experiment import Experiment
from strsweep.config.schema import NOT_FOR_FILES, plain, settings_page
from strsweep.errors import InvalidExperimentError, SettingError, nearest
from strsweep.sparsity.methods import PRESETS, WRONG_SETTINGS

Settings = dict[str, Any]

_SET_BY_PRESET = ("search.threshold_init", "search.weight_decay", "search.decay")
_MOST_MISTAKES = 20
"""That one message tells."""
_MOST_BYTES, _MOST_VALUES, _DEEPEST = 2**18, 20_000, 20
"""Of a file: an experiment with a budget of a thousand layers has a fifth of them."""
_KEY = re.compile(r"[\w-]+(\.[\w-]+)*")
_UNION_MEMBER = re.compile(r"(tuple|literal|dict)\[.*|bool|int|float|str|constrained-(int|float)")
"""pydantic adds the members of a union to the path: ``constrained-float``, ``tuple[float]``."""


def load_experiment(path: Path | str, overrides: Sequence[str] = ()) -> Experiment:
    """Read the file at ``path``, apply ``overrides`` and validate the whole.

    Args:
        path: A YAML 1.2 file.
        overrides: ``section.key=value`` each; the value is YAML, so lists and numbers work.

    Raises:
        SettingError: The file cannot be read, an override is malformed, or a rule between
            settings is broken.
        InvalidExperimentError: Settings are unknown, missing or of the wrong type or value.
    """
    settings = _read(Path(path))
    for override in overrides:
        _apply(settings, override)
    if chosen := _written(settings, "search", NOT_FOR_FILES):
        raise SettingError(f"search.{NOT_FOR_FILES}", chosen, "The sweep writes it: leave it out.")
    _apply_preset(settings, overrides)
    try:
        # JSON, so that strict mode takes lists for tuples.
        text = json.dumps(settings, default=str)
    except (TypeError, ValueError) as error:
        remedy = f"It holds what no setting can be: {error}"
        raise SettingError("--config", str(path), remedy) from None
    try:
        experiment = Experiment.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise _translate(error) from None
    _refuse_relative_paths_in_uploaded_copy(experiment, settings)
    return experiment


def _read(path: Path) -> Settings:
    try:
        with path.open("rb") as file:  # no more of it than counts: it may be a disk, or have no end
            content = _loaded(file.read(_MOST_BYTES + 1).decode("utf-8"))
    except OSError as error:
        remedy = f"{error.strerror}: name a YAML file."
    except UnicodeDecodeError:
        remedy = "The file is not text: name a YAML file."
    except (YAMLError, ValueError) as error:
        remedy = f"This is not valid YAML: {_told(error)}"
    else:
        if isinstance(content, dict):
            return cast("Settings", content)
        remedy = "The file must hold sections such as 'model:'."
    raise SettingError("--config", str(path), remedy)


def _told(error: YAMLError | ValueError) -> str:
    """Return what is wrong and where, without what stands there: it may be a secret."""
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).split())
    problem, mark = str(error.problem).partition(" with value ")[0], error.problem_mark
    return f"{problem} in line {mark.line + 1}, column {mark.column + 1}"


def _loaded(text: str) -> Any:
    """Return what YAML says; ``ValueError`` if it is deep or long, or aliases make it so."""
    if len(text.encode()) > _MOST_BYTES:
        raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
    sizes, opened, total = dict[str | None, int](), list[tuple[str | None, int]](), 0
    for event in YAML(typ="safe").parse(text):
        match event:
            case SequenceStartEvent() | MappingStartEvent():
                opened.append((event.anchor, total))
            case SequenceEndEvent() | MappingEndEvent():
                anchor, before = opened.pop()
                sizes[anchor] = total - before
            case AliasEvent():  # inside of itself it has no end
                total += sizes.get(event.anchor, _MOST_VALUES)
            case ScalarEvent():
                total += 1
                sizes[event.anchor] = 1
            case _:
                pass
        if total >= _MOST_VALUES or len(opened) > _DEEPEST:
            told = f"{_MOST_VALUES:,} values, aliases counted each time, or {_DEEPEST} levels"
            raise ValueError(f"it has more than {told}")
    return YAML(typ="safe").load(text)


def _apply(settings: Settings, override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not _KEY.fullmatch(key):
        raise SettingError("--set", override, "Write section.key=value, e.g. training.epochs=30.")
    try:
        value = _loaded(text)
    except (YAMLError, ValueError):
        raise SettingError("--set", override, "The value is not valid YAML.") from None
    *sections, last = key.split(".")
    for section in sections:
        inner: object = settings.setdefault(section, {})
        if not isinstance(inner, dict):
            raise SettingError("--set", override, f"{section!r} is not a section.")
        settings = cast("Settings", inner)
    settings[last] = value


def _written(settings: Settings, section: str, key: str) -> object:
    """Return what the file says, whatever that is; None where it says nothing."""
    found = settings.get(section)
    return cast("Settings", found).get(key) if isinstance(found, dict) else None


def _apply_preset(settings: Settings, overrides: Sequence[str]) -> None:
    """Let ``sparsity.preset`` take the place of the values and ranges of the search."""
    name = _written(settings, "sparsity", "preset")
    if name is None:
        return
    if not isinstance(name, str) or name not in PRESETS:
        remedy = f"{nearest(name, PRESETS)}The paper has: {', '.join(PRESETS)}."
        raise SettingError("sparsity.preset", name, remedy)
    trained, remedy = name.partition("-")[0], ""
    if _written(settings, "model", "name") != trained:
        remedy = f"It is for model.name={trained}: it does not carry over."
    elif any(text.partition("=")[0] in {"search", *_SET_BY_PRESET} for text in overrides):
        remedy = f"It sets {', '.join(_SET_BY_PRESET)}: leave out one or the other."
    if remedy:
        raise SettingError("sparsity.preset", name, remedy)
    search = settings.setdefault("search", {})
    if isinstance(search, dict):
        values = PRESETS[name].model_dump(include={"threshold_init", "weight_decay"})
        search.update(values, decay="shared")


def _translate(error: ValidationError) -> InvalidExperimentError:
    # A union reports one failure per member; the key is told once.
    by_key: dict[str, SettingError] = {}
    for details, kind in _flat(error):
        location = [key for key in _keys(details) if not _UNION_MEMBER.fullmatch(key)]
        by_key.setdefault(".".join(location), _setting_error(location, details, kind))
        if len(by_key) == _MOST_MISTAKES:
            break  # more would not be read, and each is compared with all settings
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
            yield details, _section_model(_keys(details)[:-1])
            continue
        carried = details["ctx"]  # pyright: ignore[reportTypedDictNotRequiredAccess]
        for inner in carried["errors"]:
            inner["loc"] = (*details["loc"], *inner["loc"])
            yield inner, carried["kind"]


def _keys(details: ErrorDetails) -> list[str]:
    return [part for part in details["loc"] if isinstance(part, str)]  # the others are numbers


def _section_model(sections: Iterable[str]) -> type[BaseModel]:
    model: type[BaseModel] = Experiment
    for section in sections:
        field = model.model_fields.get(section)
        for kind in (field.annotation, *get_args(field.annotation)) if field is not None else ():
            if isinstance(kind, type) and issubclass(kind, BaseModel):  # one, or a tuple of them
                model = kind
    return model


def _setting_error(
    location: list[str], details: ErrorDetails, kind: type[BaseModel]
) -> SettingError:
    key, (*sections, last) = ".".join(location), location or [""]
    if details["type"] == "extra_forbidden":
        suggestion = _suggestion(kind, last, sections)
        return SettingError(key, details["input"], f"There is no such setting. {suggestion}")
    field = kind.model_fields.get(last)
    meaning = plain(field.description or "") if field is not None else ""
    if details["type"] == "missing" and not isinstance(details["loc"][-1], int):
        return SettingError(key, None, f"It must be set. {meaning}".strip())
    known = re.findall(r"'([^']*)'", details["msg"]) if details["type"] == "literal_error" else []
    remedy = f"{details['msg']}. {nearest(details['input'], known)}{meaning}"
    return SettingError(key, details["input"], remedy.strip())


def _suggestion(model: type[BaseModel], name: str, sections: list[str]) -> str:
    """Return the settings that ``name`` may have meant, of its section first, then of others."""
    fields = [field for field in model.model_fields if field != NOT_FOR_FILES]
    here = get_close_matches(name.lower(), fields, n=1)
    close = [".".join([*sections, field]) for field in here]
    every = {setting.name for setting in settings_page()} - {".".join([*sections, name])}
    close += sorted(full for full in every if full.rpartition(".")[2] == name)
    if close:
        return f"Did you mean {' or '.join(dict.fromkeys(close))}?"
    return f"{'.'.join(sections) or 'the file'} has: {', '.join(fields)}."


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
