"""Every setting with its type, default and meaning: a page to read, and a schema for editors."""

from __future__ import annotations

import json
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from itertools import groupby
from textwrap import fill
from typing import Any, NamedTuple

from strsweep.config.experiment import Experiment
from strsweep.errors import SettingError
from strsweep.sparsity.methods import BUILT_IN, DEFAULT

NOT_FOR_FILES = "resolved"
"""Field of ``search`` that holds what ``auto`` stood for."""
_NO_DEFAULT = {"required", "not set"}
_LARGE = 2**53
"""Ends of ranges that nobody meets are left out."""
_Node = dict[str, Any]
"""Part of a JSON schema."""


class Setting(NamedTuple):
    """One setting, as a person reads it."""

    name: str
    """Section and key, e.g. ``search.targets``."""
    kind: str
    """Type and range of the value."""
    default: str
    meaning: str
    """In reStructuredText's literals, as docstrings are."""


@cache
def json_schema() -> _Node:
    """Return the JSON schema of an experiment's file; editors complete and check YAML with it."""
    schema = Experiment.model_json_schema()
    kinds = schema["$defs"]
    del kinds["SearchConfig"]["properties"][NOT_FOR_FILES]
    for mode, kind in BUILT_IN.items():
        if mode != DEFAULT.mode:
            definition = kinds[kind.__name__]
            definition["required"] = [*definition.get("required", []), "mode"]
    own = {"type": "object", "required": ["mode"], "properties": {"mode": {"pattern": ":"}}}
    methods = [{"$ref": f"#/$defs/{kind.__name__}"} for kind in BUILT_IN.values()]
    schema["properties"]["sparsity"] = {"anyOf": [*methods, own]}
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema


@cache
def settings_page() -> tuple[Setting, ...]:
    """Return all settings in the order of the sections; one of some methods names their modes."""
    schema = json_schema()
    found: list[Setting] = []
    for key, node in schema["properties"].items():
        section = _section(node)
        if key == "sparsity":
            found += _of_methods()
        elif section is None:
            found.append(_setting(key, node, schema["required"]))
        else:
            required = section.get("required", ())
            inner = section["properties"].items()
            found += [_setting(f"{key}.{name}", one, required) for name, one in inner]
    return tuple(found)


def plain(text: str) -> str:
    """Return a description for a terminal: on one line, without marks."""
    return " ".join(text.replace("``", "").split())


def terminal_text(name: str | None) -> str:
    """Return the settings for a terminal: all, those of a section, or the one of this name.

    Raises:
        SettingError: There is none.
    """
    page = settings_page()
    asked = [one for one in page if name is None or f"{one.name}.".startswith(f"{name}.")]
    if not asked:
        names = {setting.name.rpartition(".")[2]: setting.name for setting in reversed(page)}
        names |= {section: section for section in (setting.name.split(".")[0] for setting in page)}
        close = get_close_matches(str(name).rpartition(".")[2], names, n=1)
        told = (
            f"Did you mean {names[close[0]]}?" if close else "strsweep config prints all of them."
        )
        raise SettingError("SETTING", name, f"There is no such setting. {told}")
    return "\n".join(map(_terminal_entry, asked))


def _terminal_entry(setting: Setting) -> str:
    default = setting.default if setting.default in _NO_DEFAULT else f"default {setting.default}"
    meaning = fill(plain(setting.meaning), 100, initial_indent="    ", subsequent_indent="    ")
    return f"{setting.name}: {setting.kind}; {default}\n{meaning}"


def markdown() -> str:
    """Return ``docs/configuration.md`` without its last line break."""
    lines = [_INTRODUCTION]
    for section, settings in groupby(settings_page(), lambda one: one.name.partition(".")[0]):
        node = _section(json_schema()["properties"][section]) or {}
        about = node.get("description", "The method that makes the network sparse.")
        lines += ["", f"## {section}", "", *([about, ""] if node or section == "sparsity" else [])]
        lines += ["| setting | type | default | meaning |", "|---|---|---|---|"]
        for setting in settings:
            meaning = " ".join(setting.meaning.replace("``", "`").split())
            lines.append(f"| `{setting.name}` | {setting.kind} | `{setting.default}` | {meaning} |")
    return "\n".join(lines)


_INTRODUCTION = """\
# Configuration

One YAML file is one experiment. Every setting is checked before anything starts, and a name that
does not exist is answered with the nearest that does. `--set section.key=value` overrides one.
`strsweep init` writes a file for your model and data.

This page is `strsweep config --markdown`; in a terminal, `strsweep config search` shows one
section. `strsweep config --schema > strsweep.schema.json` lets editors complete and check the file
if its first line is `# yaml-language-server: $schema=strsweep.schema.json`."""


def _section(node: _Node) -> _Node | None:
    """Return the schema of a section; None for a setting that stands alone."""
    return next((_defined(one) for one in (node, *node.get("anyOf", ())) if "$ref" in one), None)


def _defined(node: _Node) -> _Node:
    """Return what a reference refers to."""
    return json_schema()["$defs"][node["$ref"].rpartition("/")[2]]


def _of_methods() -> Iterable[Setting]:
    """Yield the settings of all methods; those that methods share are there once."""
    kinds = {mode: json_schema()["$defs"][kind.__name__] for mode, kind in BUILT_IN.items()}
    known = " ".join(f"``{mode}``: {kind['description']}" for mode, kind in kinds.items())
    modes = f"{', '.join(BUILT_IN)}, or package.module:Method"
    yield Setting("sparsity.mode", modes, DEFAULT.mode, f"The method. {known}")
    shared: dict[str, dict[Setting, list[str]]] = {}
    for mode, kind in kinds.items():
        for name, node in kind["properties"].items():
            if name != "mode":
                setting = _setting(f"sparsity.{name}", node, kind.get("required", ()))
                shared.setdefault(name, {}).setdefault(setting, []).append(mode)
    for setting, having in (one for same in shared.values() for one in same.items()):
        which = "" if len(having) == len(BUILT_IN) else f" Method: {', '.join(having)}."
        yield setting._replace(meaning=setting.meaning + which)


def _setting(name: str, node: _Node, required: Iterable[str]) -> Setting:
    default = node.get("default", {} if node.get("type") == "object" else "")
    shown = default if isinstance(default, str) else json.dumps(default)
    if name.rpartition(".")[2] in required:
        shown = "required"
    return Setting(name, _kind(node), "not set" if shown == "null" else shown, node["description"])


def _kind(node: _Node) -> str:
    """Return a type in words."""
    if "$ref" in node:
        return _kind(_defined(node))
    if "anyOf" in node:
        return " or ".join(_kind(one) for one in node["anyOf"] if one != {"type": "null"})
    if "const" in node or "enum" in node:
        values = node.get("enum", [node.get("const")])
        return " or ".join(map(str, values))
    match node["type"]:
        case "array" if "prefixItems" in node:
            return f"[{', '.join(_kind(one) for one in node['prefixItems'])}]"
        case "array":
            return f"list of: {_kind(node['items'])}"
        case "object" if "properties" in node:
            return f"{{{', '.join(node['properties'])}}}"
        case "object":
            values = node["additionalProperties"]
            return "mapping" if values is True else f"mapping of names to: {_kind(values)}"
        case "boolean":
            return "true or false"
        case "string":
            return node.get("format", "text")
        case kind:
            return {"integer": "whole number", "number": "number"}[kind] + _ends(node)


def _ends(node: _Node) -> str:
    """Return the range of a number in words."""
    words = {
        "minimum": "from",
        "exclusiveMinimum": "above",
        "maximum": "to",
        "exclusiveMaximum": "below",
    }
    return "".join(
        f" {word} {node[key]:.10g}" for key, word in words.items() if node.get(key, _LARGE) < _LARGE
    )
