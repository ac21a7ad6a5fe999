"""What the checks of infra/ share: the files, and a resolver for the kustomizations."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
import yaml

ROOT = Path(__file__).parents[2]
Document = dict[str, Any]
KNOWN_KEYS = {"apiVersion", "kind", "resources", "namespace", "images", "patches"}


def resolve(folder: Path) -> list[Document]:
    """Build a kustomization of the few features that ours use; anything else is an error."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    unknown = set(kustomization) - KNOWN_KEYS
    assert not unknown, f"{folder}: {unknown} is not understood here"
    documents: list[Document] = []
    for resource in kustomization["resources"]:
        path = folder / resource
        if path.is_dir():
            documents += resolve(path)
        else:
            documents += [
                d for d in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader) if d is not None
            ]
    # YAML anchors share parts of a document; a patch is for one place.
    documents = json.loads(json.dumps(documents))
    for patch in kustomization.get("patches", []):
        documents = _patched(documents, patch, folder)
    for image in kustomization.get("images", []):
        for document in documents:
            _set_image(document, image)
    if "namespace" in kustomization:
        for document in documents:
            document["metadata"]["namespace"] = kustomization["namespace"]
    return documents


def _patched(documents: list[Document], patch: Document, folder: Path) -> list[Document]:
    target = patch["target"]
    api_version = f"{target['group']}/{target['version']}"
    wanted = (api_version, target["kind"], target["name"])
    found = [_identity(document) for document in documents].count(wanted)
    assert found == 1, f"{folder / patch['path']}: {found} objects are {wanted}"
    operations = yaml.safe_load((folder / patch["path"]).read_text())
    return [
        jsonpatch.apply_patch(document, operations) if _identity(document) == wanted else document
        for document in documents
    ]


def _identity(document: Document) -> tuple[str, str, str]:
    return document["apiVersion"], document["kind"], document["metadata"]["name"]


def _set_image(part: Any, image: Document) -> None:
    if isinstance(part, dict):
        name, _, _ = str(part.get("image", "")).partition(":")
        if name == image["name"]:
            part["image"] = f"{image['newName']}:{image['newTag']}"
        for value in part.values():
            _set_image(value, image)
    elif isinstance(part, list):
        for value in part:
            _set_image(value, image)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def load() -> Callable[[str], Any]:
    """Read one YAML file by its path from the top folder; a new object every time."""
    return lambda name: yaml.safe_load((ROOT / name).read_text())


@pytest.fixture(scope="session")
def build() -> Callable[[str], list[Document]]:
    """Build a kustomization of infra/kuberay by its folder; new objects every time."""
    built = functools.cache(lambda folder: json.dumps(resolve(ROOT / "infra/kuberay" / folder)))
    return lambda folder: json.loads(built(folder))


def _parts(value: Any) -> Iterator[Document]:
    """Yield every mapping inside ``value``."""
    if isinstance(value, dict):
        yield value
    for inner in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from _parts(inner)


def _pod_templates(document: Document) -> list[Document]:
    return [part for part in _parts(document) if "containers" in part.get("spec", {})]


@pytest.fixture(scope="session")
def parts() -> Callable[[Any], Iterator[Document]]:
    """Yield every mapping inside a value."""
    return _parts


@pytest.fixture(scope="session")
def pod_templates() -> Callable[[Document], list[Document]]:
    """Return the pod templates inside an object."""
    return _pod_templates
