"""Field types that rows from files share, for pydantic, and the one line that says what is wrong with a row."""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, Strict, TypeAdapter, ValidationError, WrapValidator

from reward.dimensions import dimension_name
from reward.errors import InputError

_T = TypeVar("_T")


def _missing_as_nan(value: Any, validate: Callable[[Any], float]) -> float:
    return math.nan if value is None else validate(value)


def _known_dimension(spelling: Any) -> str:
    if not isinstance(spelling, str):
        raise ValueError(f"a dimension is a string, not {type(spelling).__name__}")
    try:
        return dimension_name(spelling)
    except InputError as error:
        raise ValueError(str(error)) from None


def _named(identity: Any) -> Any:
    return {"name": identity} if isinstance(identity, str) else identity


Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
MaybeNumber = Annotated[Number, WrapValidator(_missing_as_nan)]
"""null is read as NaN, here and in the two below."""
MaybePositive = Annotated[Number, Field(ge=0), WrapValidator(_missing_as_nan)]
MaybeProbability = Annotated[Number, Field(ge=0, le=1), WrapValidator(_missing_as_nan)]
DimensionName = Annotated[str, BeforeValidator(_known_dimension)]
"""Our name of a dimension, from our spelling or VideoVerse's."""
Named = BeforeValidator(_named)
"""Takes a bare name for an identity {"name": ...}, as rows from elsewhere may give it."""


def valid_row(adapter: TypeAdapter[_T], record: Mapping[str, Any], what: str, where: str) -> _T:
    """Return the row that a record describes; InputError says `where` it is not `what`, and in which field."""
    try:
        return adapter.validate_python(record)
    except ValidationError as error:
        raise InputError(f"{where}: not {what}: {first_fault(error)}") from None


def first_fault(error: ValidationError) -> str:
    """Return "field 'x': what is wrong (got 'y')" for the first thing that pydantic found."""
    fault = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in fault["loc"])
    given = "" if fault["type"] == "missing" else f" (got {str(fault['input'])[:80]!r})"
    return f"field {name!r}: {fault['msg'].removeprefix('Value error, ')}{given}"
