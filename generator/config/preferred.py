"""Which batch sizes are worth waiting for. Pure."""

from collections.abc import Collection, Mapping, Sequence

from contract.manifest import ShapeCost

# Two measurements of the same differ by so much; below it, larger batches only add latency.
_SAME = 0.1


def cheapest(costs: Sequence[ShapeCost], sizes: Collection[int]) -> tuple[int, ...]:
    """The smallest of `sizes` from which on an element costs no less time, ascending.

    One for each length of the dynamic dimensions at which all `sizes` were measured; often they
    are the same.
    """
    curves: dict[tuple[tuple[str, int], ...], dict[int, float]] = {}
    for cost in costs:
        curve = curves.setdefault(tuple(sorted(cost.dims.items())), {})
        curve[cost.batch] = cost.steady_ms / cost.batch
    return tuple(
        sorted({_knee(curve, sizes) for curve in curves.values() if curve.keys() >= set(sizes)})
    )


def _knee(curve: Mapping[int, float], sizes: Collection[int]) -> int:
    least_ms = min(curve[size] for size in sizes)
    return min(size for size in sizes if curve[size] <= least_ms * (1 + _SAME))
