"""Which profile holds when: the one whose time came last."""

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim

from sidecar.core.fleet import Profile
from sidecar.settings import ScheduleSettings


class Schedule:
    """`default` holds until the first entry's time comes."""

    def __init__(self, default: Profile, entries: Sequence[ScheduleSettings] = ()) -> None:
        self._default = default
        self._entries = tuple(entries)

    def profile(self, now_s: float) -> Profile:
        began = [(_last_before(entry, now_s), entry.profile) for entry in self._entries]
        return max(began)[1] if began else self._default


def _last_before(entry: ScheduleSettings, now_s: float) -> float:
    now = datetime.fromtimestamp(now_s, tz=UTC).astimezone(ZoneInfo(entry.zone))
    return next(CronSim(entry.cron, now, reverse=True)).timestamp()
