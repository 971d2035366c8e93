"""Which profile holds when."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from sidecar.core.fleet import Profile
from sidecar.runtime.schedule import Schedule
from sidecar.settings import ScheduleSettings

BERLIN = "Europe/Berlin"
OFFICE_HOURS = Schedule(
    Profile.DEVELOPMENT,
    [
        ScheduleSettings(profile=Profile.PRODUCTION, cron="0 8 * * 1-5", zone=BERLIN),
        ScheduleSettings(profile=Profile.DEVELOPMENT, cron="0 20 * * *", zone=BERLIN),
    ],
)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-11-20 07:59", Profile.DEVELOPMENT),
        ("2026-11-20 08:01", Profile.PRODUCTION),
        ("2026-11-20 19:59", Profile.PRODUCTION),
        ("2026-11-20 20:01", Profile.DEVELOPMENT),
        ("2026-11-22 12:00", Profile.DEVELOPMENT),
    ],
    ids=["a Friday morning", "from eight on", "until eight", "the evening", "a Sunday"],
)
def test_the_entry_whose_time_came_last_holds(at: str, expected: Profile) -> None:
    now_s = datetime.fromisoformat(at).replace(tzinfo=ZoneInfo(BERLIN)).timestamp()

    assert OFFICE_HOURS.profile(now_s) is expected


def test_without_a_schedule_the_default_holds() -> None:
    assert Schedule(Profile.DEVELOPMENT).profile(0.0) is Profile.DEVELOPMENT
