"""Times as people write and read them, and the only module that imports dateutil.

`parse_time` takes what `journalctl --since` takes, in local time unless the text names a zone:

    now  today  yesterday  tomorrow            the days mean their local midnight
    2 hours ago  1h 30min ago  -90s  +1d       relative to now
    @1700000000  @1700000000.25                seconds since 1970 UTC
    2026-09-21  2026-09-21 14:30  20260921T143000Z  14:30  21 Sep 2026 14:30

Inside the program a time is an integer of UTC milliseconds since 1970.
"""

import re
import time
import warnings
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from carojournal.errors import UsageError

if TYPE_CHECKING:
    from datetime import tzinfo

__all__ = ["TIME_MS_MAX", "local_text", "parse_time", "utc_text"]

TIME_MS_MAX = 253_402_300_799_999  # The last millisecond of year 9999, the last year that RFC 3339 can name.
TEXT_CHARACTERS_MAX = 64  # Longer than any spelling of a time; bounds what the patterns and dateutil look at.
_DIGITS_MAX = 9  # Of an amount: a billion seconds are 31 years, and anything longer is no span of a journal.

_UNITS = {
    "second": ("s", "sec", "secs", "second", "seconds"),
    "minute": ("m", "min", "mins", "minute", "minutes"),
    "hour": ("h", "hr", "hrs", "hour", "hours"),
    "day": ("d", "day", "days"),
    "week": ("w", "week", "weeks"),
    "month": ("mo", "month", "months"),
    "year": ("y", "yr", "year", "years"),
}
_UNIT_OF = {word: unit for unit, words in _UNITS.items() for word in words}
# Compiled at their first use: most calls of `inspect` name no time.
_SPAN = rf"(\d{{1,{_DIGITS_MAX}}})\s*([a-z]+)\s*"
_EPOCH = r"@(\d{1,12})(?:\.(\d{1,9}))?"
_CLOCK = r"\d{1,2}:\d{2}(:\d{2}(\.\d{1,9})?)?"
_YEAR = r"(?<!\d)\d{4}(?!\d)|(?<!\d)\d{8}(?!\d)"

_FORMS = 'a time is "today", "yesterday", "2 hours ago", "-30min", "2026-09-21 14:30", "14:30" or @SECONDS'


def parse_time(text: str, now_ms: int, zone: "tzinfo | None" = None) -> int:
    """Return the UTC milliseconds that *text* names.

    *now_ms* is the present in UTC milliseconds; *zone* stands in for the local time zone (tests).  Raises UsageError,
    which repeats nothing of *text*, for anything that is not a time between 1970 and 9999 or can be read in two ways.
    """
    words = " ".join(text.lower().split())
    if not words or len(words) > TEXT_CHARACTERS_MAX or not words.isascii():
        raise UsageError(_FORMS)
    try:
        found = _parse(words, now_ms, zone)
    except (ValueError, LookupError, ArithmeticError, TypeError, AttributeError, OSError, Warning):
        raise UsageError(_FORMS) from None  # dateutil's messages repeat the text
    if not 0 <= found <= TIME_MS_MAX:
        raise UsageError("a time lies between 1970 and 9999")
    return found


def _parse(words: str, now_ms: int, zone: "tzinfo | None") -> int:
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    here = now.astimezone(zone)
    if words == "now":
        return now_ms
    shift = {"yesterday": -1, "today": 0, "tomorrow": 1}.get(words)
    if shift is not None:
        return _ms(_midnight(here, shift, zone))
    if epoch := re.fullmatch(_EPOCH, words):
        return int(epoch[1]) * 1000 + int((epoch[2] or "").ljust(3, "0")[:3])
    if words.endswith(" ago"):
        return _shifted(here, zone, words.removesuffix(" ago"), -1)
    if words[0] in "+-":
        return _shifted(here, zone, words[1:].strip(), -1 if words[0] == "-" else 1)
    return _ms(_date(words, _midnight(here, 0, zone), zone))


def _local(naive: datetime, zone: "tzinfo | None") -> datetime:
    """Return the moment at which clocks here show *naive*; the offset from UTC is looked up for that day."""
    return naive.replace(tzinfo=zone) if zone else naive.astimezone()


def _midnight(here: datetime, days: int, zone: "tzinfo | None") -> datetime:
    naive = here.replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
    return _local(naive + timedelta(days=days), zone)


def _ms(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _shifted(here: datetime, zone: "tzinfo | None", span: str, sign: int) -> int:
    """Return *here* plus or minus *span*; hours and shorter are exact, longer ones go by the calendar."""
    from dateutil.relativedelta import relativedelta

    amounts = dict.fromkeys(_UNITS, 0)
    at, pattern = 0, re.compile(_SPAN)
    span = re.sub(r"^an? ", "1 ", span)
    while part := pattern.match(span, at):
        amounts[_UNIT_OF.get(part[2], "")] += sign * int(part[1])  # an unknown unit is a KeyError
        at = part.end()
    if at != len(span) or not span:
        raise ValueError
    exact_ms = 1000 * (amounts["second"] + 60 * amounts["minute"] + 3600 * amounts["hour"])
    calendar = relativedelta(years=amounts["year"], months=amounts["month"], weeks=amounts["week"], days=amounts["day"])
    then = _local(here.replace(tzinfo=None) + calendar, zone) if calendar else here
    return _ms(then) + exact_ms


def _date(words: str, today: datetime, zone: "tzinfo | None") -> datetime:
    from dateutil import parser

    # dateutil reads "10" as a day and 01/02/2026 as American: a time of ours names its year, or is a time of today.
    if "/" in words or not (re.search(_YEAR, words) or re.fullmatch(_CLOCK, words)):
        raise ValueError
    try:
        found = parser.isoparse(words.upper())
    except ValueError:
        default = today.replace(tzinfo=None)
        if not re.fullmatch(_CLOCK, words):
            default = default.replace(month=1, day=1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # An unknown zone is but a warning to dateutil.
            found = parser.parse(words, default=default)
    return found if found.tzinfo is not None else _local(found, zone)


def utc_text(time_ms: int) -> str:
    """Return RFC 3339 UTC with milliseconds, "2026-09-21T12:00:00.000Z"; the number itself beyond year 9999."""
    if not 0 <= time_ms <= TIME_MS_MAX:
        return str(time_ms)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(time_ms // 1000))}.{time_ms % 1000:03d}Z"


def local_text(time_ms: int, *, zone: bool = False) -> str:
    """Return local time for people, "2026-09-21 14:00:00"; the number itself beyond year 9999.

    *zone* appends what the time is ahead of UTC, " +0200".
    """
    if not 0 <= time_ms <= TIME_MS_MAX:
        return str(time_ms)
    return time.strftime("%Y-%m-%d %H:%M:%S" + (" %z" if zone else ""), time.localtime(time_ms // 1000))
