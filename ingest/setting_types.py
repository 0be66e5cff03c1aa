"""The types of settings: the texts and numbers that the command line, the environment and `ingest.toml` accept for them."""

from __future__ import annotations

import re
from datetime import UTC
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from ingest.errors import ConfigurationError
from ingest.parameters import format_share, parse_duration, parse_share, parse_share_or_number, parse_weight


def _split_commas(value: Any) -> Any:
    """Split `a,b` of the environment or the command line into a list; `none` is the empty list."""
    if not isinstance(value, str):
        return value
    return [] if value == "none" else [part.strip() for part in value.split(",") if part.strip()]


SPLIT_COMMAS = BeforeValidator(_split_commas)

Names = Annotated[list[str], SPLIT_COMMAS]
"""A list of names, in one text separated by commas."""


def _as_written(value: Any) -> Any:
    """Return a number as the text it was written as: in settings a bare number has no unit."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _share(value: Any) -> str:
    return format_share(parse_share(str(value) if type(value) is int else value))


def _share_or_number(value: Any) -> str:
    parsed = parse_share_or_number(value)
    return str(parsed) if isinstance(parsed, int) else format_share(parsed)


Share = Annotated[str, BeforeValidator(_share)]
"""A share: text such as `20%`; in TOML also a fraction such as 0.2."""

Allowance = Annotated[str, BeforeValidator(_share_or_number)]
"""A `Share`, or a number of records such as 50."""

ColumnType = Literal["text", "integer", "number", "boolean", "date"]
"""The type of a column of a CSV file."""

Weight = Annotated[float, BeforeValidator(parse_weight)]
"""A positive, finite number."""

Duration = Annotated[float, BeforeValidator(parse_duration), BeforeValidator(_as_written)]
"""A duration in seconds, written with a unit: `90s`, `15m`, `6h` or `30d`."""


def _check_cron(expression: str) -> str:
    from ingest.schedule.cron import CronSchedule  # noqa: PLC0415  only jobs with a schedule need it

    try:
        CronSchedule.parse(expression, UTC)
    except ConfigurationError as exc:
        raise ValueError(str(exc)) from exc
    return expression


Cron = Annotated[str, AfterValidator(_check_cron)]
"""A cron expression of five fields."""


def _check_job_name(name: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name) is None:
        raise ValueError("a job's name is 1 to 64 letters, digits, - and _, and begins with a letter or digit")
    return name


JobName = Annotated[str, AfterValidator(_check_job_name)]
"""The name of a job and of its files."""

Locations = Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value), Field(min_length=1)]
"""One location or several. Text is never split, because a location may contain commas."""


class Table(BaseModel):
    """A table of settings. Unknown keys are errors, and so are true and false for a setting that is not a boolean."""

    model_config = ConfigDict(defer_build=True, extra="forbid", hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_boolean(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse a boolean for a number: Pydantic reads True as 1."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and annotation is not bool and bool not in get_args(annotation):
            raise ValueError(f"{str(value).lower()} is not allowed here")
        return value
