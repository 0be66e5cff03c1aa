"""When the next request may be sent: the limits of an account, and what the endpoint says about them."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_PAUSE = 600.0
"""Maximum seconds that an endpoint can make requests wait. A longer wait is not worth starting."""

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")

_REMAINING = {
    "x-ratelimit-remaining-requests": "x-ratelimit-reset-requests",
    "x-ratelimit-remaining-tokens": "x-ratelimit-reset-tokens",
    "x-ratelimit-remaining": "x-ratelimit-reset",
    "ratelimit-remaining": "ratelimit-reset",
}
"""Header with what is left → header with the time until it is renewed."""


class Pacer:
    """A schedule of requests within limits per minute. Safe from several threads.

    Requests are spread evenly, so that no minute has more than the limits allow.

    Args:
        requests, tokens: limits per minute; None: no limit.
        sleep: waits instead of `wait`, for tests.
    """

    def __init__(
        self,
        requests: float | None = None,
        tokens: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._seconds_per_request = 60 / requests if requests else 0.0
        self._seconds_per_token = 60 / tokens if tokens else 0.0
        self._clock = clock
        self._sleep = sleep
        self._next_request = self._next_tokens = self._paused_until = 0.0
        self._interrupted = threading.Event()
        self._lock = threading.Lock()

    @property
    def counts_tokens(self) -> bool:
        """Whether there is a limit on tokens."""
        return bool(self._seconds_per_token)

    def wait(self, tokens: int = 0) -> bool:
        """Wait for the turn of a request of so many tokens, and take it. Returns whether it came before an `interrupt`."""
        with self._lock:
            interrupted = self._interrupted
            start = max(self._clock(), self._next_request, self._next_tokens)
            self._next_request = start + self._seconds_per_request
            self._next_tokens = start + self._seconds_per_token * tokens
        while (seconds := max(start, self._paused_until) - self._clock()) > 0:
            (self._sleep or interrupted.wait)(seconds)
            if interrupted.is_set():
                return False
        return True

    def interrupt(self) -> None:
        """End the waits of all requests that wait now."""
        with self._lock:
            interrupted, self._interrupted = self._interrupted, threading.Event()
        interrupted.set()

    def pause(self, seconds: float) -> None:
        """Send no request for so many seconds."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._clock() + min(seconds, LONGEST_PAUSE))


def retry_after(headers: Mapping[str, str], now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float | None:
    """Return the seconds that a refusal asks to wait, or None. Reads `Retry-After` (seconds or date) and `retry-after-ms`."""
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    if (seconds := _number(value)) is not None or value is None:
        return seconds
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now().timestamp())


def renewed_in(headers: Mapping[str, str]) -> float | None:
    """Return the seconds until a limit is renewed that a response says is used up, or None if none is."""
    waits = [_duration(headers.get(reset)) for remaining, reset in _REMAINING.items() if _number(headers.get(remaining)) == 0]
    return max((wait for wait in waits if wait is not None), default=None)


def _number(value: str | None) -> float | None:
    return float(value) if value is not None and _NUMBER.fullmatch(value.strip()) else None


def _duration(value: str | None) -> float | None:
    """Return the seconds of `6m0s`, `20ms` or `1.5`; None for a point in time."""
    if (seconds := _number(value)) is not None:
        return seconds if seconds <= LONGEST_PAUSE else None  # seconds since 1970
    found = _DURATION.fullmatch(value.strip()) if value else None
    if found is None:
        return None
    hours, minutes, seconds_, milliseconds = (float(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + seconds_ + milliseconds / 1000
