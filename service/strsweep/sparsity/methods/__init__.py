"""The methods by name; one file each, and whatever a user brings by its import path."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, SerializeAsAny, ValidationError, ValidatorFunctionWrapHandler
from pydantic.functional_validators import WrapValidator
from pydantic_core import PydanticCustomError

from strsweep.errors import SettingError, nearest
from strsweep.imports import imported, is_import_path
from strsweep.sparsity.methods.budgeted import Dnw, Gmp
from strsweep.sparsity.methods.learned import PRESETS, Str
from strsweep.sparsity.methods.lowrank import LowRankMethod
from strsweep.sparsity.methods.method import Course, HeldThresholds, Hooks, Method, acting_share
from strsweep.sparsity.methods.steered import Scheduled, St3, Steered

__all__ = [
    "BUILT_IN",
    "DEFAULT",
    "PRESETS",
    "WRONG_SETTINGS",
    "AnyMethod",
    "Course",
    "HeldThresholds",
    "Hooks",
    "Method",
    "acting_share",
]


class Dense(Method, frozen=True):
    """Nothing is pruned."""

    mode: Literal["dense"] = "dense"

    about: ClassVar[str] = "dense: nothing was pruned"

    def attach(self, model: Any, run: Any, example: Any) -> None:
        """See ``Method``."""


_BuiltIn = Str | LowRankMethod | Steered | Scheduled | St3 | Gmp | Dnw | Dense
DEFAULT = Str()
BUILT_IN: dict[str, type[Method]] = {
    kind.model_fields["mode"].default: kind for kind in get_args(_BuiltIn)
}
"""By mode."""
WRONG_SETTINGS = "method_settings"
"""Type of the error that carries those of a method: ``kind``, and pydantic's ``errors``."""


def _of_mode(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Validate a section by its mode, the default one if it names none."""
    if not isinstance(value, dict):
        return value if isinstance(value, Method) else handler(value)
    settings: dict[str, Any] = {"mode": DEFAULT.mode, **value}
    kind = _kind(settings["mode"])
    try:
        # JSON, so that strict mode takes lists for tuples.
        return kind.model_validate_json(json.dumps(settings), strict=True)
    except ValidationError as error:
        carried: dict[str, Any] = {"kind": kind, "errors": error.errors()}
        raise PydanticCustomError(WRONG_SETTINGS, "settings of the method", carried) from None


def _kind(mode: object) -> type[Method]:
    if isinstance(mode, str) and mode in BUILT_IN:
        return BUILT_IN[mode]
    if not isinstance(mode, str) or not is_import_path(mode):
        names = ", ".join(map(repr, BUILT_IN))
        remedy = (
            f"{nearest(mode, BUILT_IN)}Use one of {names}, or package.module:Method of your own."
        )
        raise SettingError("sparsity.mode", mode, remedy)
    kind = imported(mode, "sparsity.mode")
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        raise SettingError("sparsity.mode", mode, "It is no subclass of strsweep.Method.")
    return kind


AnyMethod = Annotated[
    SerializeAsAny[Annotated[_BuiltIn, Field(discriminator="mode")]], WrapValidator(_of_mode)
]
"""The section ``sparsity``: what a method needs depends on its ``mode``."""
