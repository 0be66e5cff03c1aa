"""Cron expressions in local time that skip and repeat no run when the clocks change."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from ingest.errors import ConfigurationError

_LOCALTIME = Path("/etc/localtime")
_FIELDS = 5
_MINUTE = timedelta(minutes=1)
_ANY_MOMENT = datetime(2000, 1, 1)  # noqa: DTZ001 - to try an expression with


@dataclass(frozen=True, slots=True)
class CronSchedule:
    """A cron expression in a time zone.

    Every local time of the expression comes exactly once: a time that the clocks skip comes when they go forward, and a time that
    they show twice comes the first time. If the hour field is `*`, a repeated hour counts like any other.

    Attributes:
        expression: five fields, in the spelling that cronsim reads.
        zone: the time zone.
    """

    expression: str
    zone: tzinfo

    @classmethod
    def parse(cls, expression: str, zone: tzinfo) -> CronSchedule:
        """Return the schedule of an expression, read as in a crontab. Raises `ConfigurationError`."""
        fields = expression.upper().split()
        if len(fields) != _FIELDS:
            raise ConfigurationError(
                f"{expression!r} is not a valid cron expression: it has {len(fields)} fields instead of five (minute, hour, day"
                " of the month, month, day of the week), such as 15 3 * * *"
            )
        spelled = re.sub(r"\b(\w+)-\1/[1-9]\d*", r"\1", " ".join(fields))  # cronsim would read 3-3/2 as 3-7/2,
        spelled = spelled.replace("-SUN", "-7")  # and takes a Sunday that ends a range only as 7
        try:
            CronSim(spelled, _ANY_MOMENT)
        except CronSimError as exc:
            raise ConfigurationError(f"{expression!r} is not a valid cron expression: {str(exc).lower()}") from exc
        return cls(spelled, zone)

    def next_after(self, moment: datetime) -> datetime:
        """Return the first time after `moment`, in UTC."""
        local = moment.astimezone(self.zone)
        if self.expression.split()[1] == "*":
            return next(CronSim(self.expression, local), datetime.max.replace(tzinfo=UTC)).astimezone(UTC)
        # Without a zone, cronsim counts days of 24 hours; `_instant` handles clock changes.
        for wall_time in CronSim(self.expression, local.replace(tzinfo=None)):
            instant = _instant(wall_time, self.zone)
            if instant > moment:
                return instant
        return datetime.max.replace(tzinfo=UTC)


def _instant(wall_time: datetime, zone: tzinfo) -> datetime:
    """Return when the clocks of a zone first show a time or, if they skip it, go past it."""
    while True:
        instant = wall_time.replace(tzinfo=zone).astimezone(UTC)
        if instant.astimezone(zone).replace(tzinfo=None) == wall_time:
            return instant
        wall_time += _MINUTE


def local_zone() -> tzinfo:
    """Return this machine's time zone: the one that `TZ` names, else that of /etc/localtime, else UTC.

    Raises `ConfigurationError` if it cannot be used, such as a POSIX rule in `TZ`.
    """
    name = os.environ.get("TZ", str(_LOCALTIME)).removeprefix(":")
    if name == "" or (name == str(_LOCALTIME) and not _LOCALTIME.exists()):
        return UTC
    try:
        if not name.startswith("/"):
            return ZoneInfo(name)
        with Path(name).open("rb") as file:
            return ZoneInfo.from_file(file)
    except (KeyError, ValueError, OSError) as exc:  # of zoneinfo for a name, a rule, and a file
        raise ConfigurationError(
            f"the time zone {name!r} cannot be used for schedules: set TZ to a name such as Europe/Berlin or UTC"
        ) from exc
