"""Points in time as people write them; always shown in UTC."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from saltern.errors import ModelError

_UNITS = {
    "second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800,
    "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "min": 60,
}  # fmt: skip
_AGO = re.compile(r"(\d+)\s*([a-z]+?)s?\s+ago", re.IGNORECASE)
#: Python reads `Z` and `+0100` from 3.11 on only
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d)?(\.\d{1,6})?\s*(Z|[+-]\d\d:?\d\d)?)?",
    re.IGNORECASE,
)
_CURE = (
    "Write 2026-11-22, 2026-11-22T10:30, 2026-11-22T10:30:00+01:00 (UTC without a zone), "
    "@1795343400, `now`, `yesterday`, or `2 hours ago`"
)


def parse(text: str, now: datetime | None = None) -> datetime:
    """Return a point in time, in UTC.

    Accepted: ISO 8601 date or date and time (UTC when no zone is written; a date alone is its
    first moment), ``@SECONDS`` since 1970, ``now``, ``yesterday`` (the same time), and
    ``N seconds|minutes|hours|days|weeks ago`` (also ``s m h d w``). Months and years are not:
    they have no fixed length.

    :param text: what a person wrote
    :param now: the present, for tests
    :raises ModelError: it is none of these, or in the future
    """
    now = now or datetime.now(timezone.utc)
    found = _parsed(text.strip(), now)
    if found is None:
        raise ModelError(f"{text!r} is no point in time", cure=_CURE)
    if found > now:
        raise ModelError(f"{show(found)} is in the future", cure=_CURE)
    return found


def show(when: datetime | float) -> str:
    """Return a point in time as ``2026-11-22 10:30:00Z``.

    :param when: an aware time, or seconds since 1970
    """
    if not isinstance(when, datetime):
        when = datetime.fromtimestamp(when, timezone.utc)
    return when.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")


def _parsed(text: str, now: datetime) -> datetime | None:
    word = text.lower()
    if word == "now":
        return now
    if word == "yesterday":
        return now - timedelta(days=1)
    try:
        if re.fullmatch(r"@\d{1,12}", text):
            return datetime.fromtimestamp(int(text[1:]), timezone.utc)
        ago = _AGO.fullmatch(text)
        if ago:
            unit = ago[2].lower() if ago[2] else ""
            seconds = _UNITS.get(unit)
            return now - timedelta(seconds=int(ago[1]) * seconds) if seconds else None
        iso = _ISO.fullmatch(text)
        if iso:
            day, minute, second, fraction, zone = iso.groups()
            fraction = (fraction or "").ljust(7, "0") if fraction else ""
            zone = "+00:00" if not zone or zone in "zZ" else zone
            zone = zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
            clock = f"{minute or '00:00'}{second or ':00'}{fraction}"
            return datetime.fromisoformat(f"{day}T{clock}{zone}").astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None
    return None
