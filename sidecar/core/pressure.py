"""Whether the memory budget is enough for the demand: what was loaded and evicted lately."""

from dataclasses import dataclass, replace

WINDOW_S = 3600.0
QUICK_S = 60.0
"""Reloaded so soon after its eviction, a model should not have gone."""
QUICK_SHARE = 0.1
FEWEST_LOADS = 10
CONCURRENCY_S = 600.0
MOST_CONCURRENCY = 2.0
"""Seconds of loading per second; above it no policy helps (POLICY.md section 1)."""
NEWEST_WEIGHT = 0.3
MOST_REMEMBERED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """One load that somebody waited for; `quick` when the model had just been evicted."""

    at_s: float
    seconds: float
    quick: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """Loads on demand of the last hour, newest last, and what the victims were worth.

    `shadow_price` is the weighted mean score of the last victims: about what one more GiB
    would save, in seconds of waiting per hour. None before the first eviction.
    """

    loads: tuple[Loaded, ...] = ()
    shadow_price: float | None = None

    def loaded(self, load: Loaded) -> "Pressure":
        recent = [each for each in self.loads if each.at_s > load.at_s - WINDOW_S]
        return replace(self, loads=(*recent, load)[-MOST_REMEMBERED:])

    def evicted(self, score: float) -> "Pressure":
        before = self.shadow_price
        mixed = score if before is None else NEWEST_WEIGHT * score + (1 - NEWEST_WEIGHT) * before
        return replace(self, shadow_price=mixed)

    def quick_share(self, now_s: float) -> float:
        """Share of the last hour's loads on demand that undid an eviction, 0 to 1."""
        recent = [load for load in self.loads if load.at_s > now_s - WINDOW_S]
        return sum(load.quick for load in recent) / len(recent) if recent else 0.0

    def concurrency(self, now_s: float) -> float:
        """Loads on demand in flight on average, over the last ten minutes."""
        return (
            sum(load.seconds for load in self.loads if load.at_s > now_s - CONCURRENCY_S)
            / CONCURRENCY_S
        )

    def is_churning(self, now_s: float) -> bool:
        recent = sum(load.at_s > now_s - WINDOW_S for load in self.loads)
        return recent >= FEWEST_LOADS and self.quick_share(now_s) > QUICK_SHARE

    def advice(self, now_s: float) -> list[str]:
        """What an operator should know, in sentences; empty when all is well."""
        said = []
        if (flow := self.concurrency(now_s)) > MOST_CONCURRENCY:
            said.append(
                f"the budget is too small: {flow:.1f} loads are in flight on average, and no "
                "policy helps above 2; give models more memory or serve fewer of them"
            )
        if self.is_churning(now_s):
            said.append(
                f"{self.quick_share(now_s):.0%} of the last hour's loads brought back what had "
                "been evicted less than a minute before; more memory would end that"
            )
        if self.shadow_price:
            said.append(
                f"one more GiB would save about {self.shadow_price:.3g} s of waiting per hour"
            )
        return said
