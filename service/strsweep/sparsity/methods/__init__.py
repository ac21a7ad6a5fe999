"""The methods by name; one file each, and whatever a user brings by its import path."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, SerializeAsAny, ValidationError, ValidatorFunctionWrapHandler
from pydantic.functional_validators import WrapValidator

from strsweep.errors import InvalidExperimentError, SettingError
from strsweep.imports import imported, is_import_path
from strsweep.sparsity.methods.budgeted import Dnw, Gmp
from strsweep.sparsity.methods.method import Course, Hooks, Method
from strsweep.sparsity.methods.scheduled import Scheduled
from strsweep.sparsity.methods.steered import Steered
from strsweep.sparsity.methods.str import Str

__all__ = ["DEFAULT", "MODES", "AnyMethod", "Course", "Hooks", "Method"]


class Dense(Method, frozen=True):
    """Nothing is pruned."""

    mode: Literal["dense"] = "dense"

    about: ClassVar[str] = "dense: nothing was pruned"

    def attach(self, model: Any, run: Any, example: Any) -> None:
        """See ``Method``."""


_BuiltIn = Str | Steered | Scheduled | Gmp | Dnw | Dense
DEFAULT = Str()
MODES: tuple[str, ...] = tuple(kind.model_fields["mode"].default for kind in get_args(_BuiltIn))
"""Names of the built-in methods."""


def _of_mode(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Validate a section by its mode, the default one if it names none."""
    if not isinstance(value, dict):
        return value if isinstance(value, Method) else handler(value)
    settings: dict[str, Any] = {"mode": DEFAULT.mode, **value}
    mode = settings["mode"]
    if not isinstance(mode, str) or not is_import_path(mode):
        return handler(settings)
    kind = imported(mode, "sparsity.mode")
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        remedy = "It is no subclass of strsweep.sparsity.methods.Method."
        raise SettingError("sparsity.mode", mode, remedy)
    try:
        return kind.model_validate_json(json.dumps(settings))
    except ValidationError as error:
        raise InvalidExperimentError([
            SettingError(".".join(["sparsity", *map(str, e["loc"])]), e["input"], f"{e['msg']}.")
            for e in error.errors()
        ]) from None


AnyMethod = Annotated[
    SerializeAsAny[Annotated[_BuiltIn, Field(discriminator="mode")]], WrapValidator(_of_mode)
]
"""The section ``sparsity``: what a method needs depends on its ``mode``."""
