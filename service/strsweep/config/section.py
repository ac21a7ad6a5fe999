"""What every section of an experiment's file is: frozen, and strict about its keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel, frozen=True):
    """A frozen section of the file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
