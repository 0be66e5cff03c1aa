"""The settings in the environment. Imported only if it has any: pydantic-settings takes a sixth of a short command to import."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsError

from ingest.errors import ConfigurationError
from ingest.setting_types import SPLIT_COMMAS


def read_environment(model: type[BaseModel], prefix: str) -> dict[str, Any]:
    """Return the values of the variables with this prefix, by the fields of the model, not validated.

    Raises `ConfigurationError` for a table or list that is not JSON.
    """

    class Variables(model, BaseSettings):  # type: ignore[misc, valid-type]  # the model is a parameter
        pass

    try:
        return Environment(Variables, env_prefix=prefix, env_nested_delimiter="__", env_ignore_empty=True)()
    except SettingsError as exc:
        raise ConfigurationError(f"a setting in the environment cannot be read ({exc}): tables are written as JSON") from exc


class Environment(EnvSettingsSource):
    """A source of variables in which lists of names are separated by commas, as in the settings themselves."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        return value if SPLIT_COMMAS in field.metadata else super().decode_complex_value(field_name, field, value)
