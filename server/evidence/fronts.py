"""What a search found: the Pareto front, and settings that run."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from ...protocols.errors import ConfigError
from ...protocols.metrics import falls
from .. import files
from . import tomls, variables
from .searches import Search, Trial

BEST, FRONT = "best.toml", "front.json"


def front(trials: Iterable[Trial], metric: str) -> list[Trial]:
    """Trials that no other one beats in bytes, value, worst client and epsilon at once.

    Example:
        >>> some = [Trial({}, 0.5, None, 10), Trial({}, 0.4, None, 20),
        ...         Trial({}, 0.9, None, 30)]
        >>> [one.value for one in front(some, "accuracy")]
        [0.5, 0.9]
    """
    sign = 1.0 if falls(metric) else -1.0

    def goals(one: Trial) -> tuple[float, float, float, float]:
        worst = one.worst if one.worst is not None else 0.0
        spent = one.epsilon if one.epsilon is not None else math.inf
        return float(one.bytes), sign * (one.value or 0.0), sign * worst, spent

    good = list[Trial]()
    for one in trials:
        if one.value is not None and one not in good:
            good.append(one)
    found = []
    for one in good:
        mine = goals(one)
        beaten = any(
            all(a <= b for a, b in zip(goals(other), mine, strict=True))
            and goals(other) != mine
            for other in good
        )
        if not beaten:
            found.append(one)
    return sorted(found, key=lambda one: (one.bytes, sign * (one.value or 0.0)))


def written(search: Search, ordered: Sequence[Trial]) -> Path:
    """Write the best settings, and all of the Pareto front, as files that run.

    Raises:
        ConfigError: nothing could be used.
    """
    best = ordered[0] if ordered else None
    if best is None or best.value is None:
        why = best.said if best else "nothing was tried"
        raise ConfigError(f"no settings could be used: {why}")
    path = search.out / BEST
    _write(search, best, path, f"the best of {len(search.done)} trials")
    found = front(search.done, search.metric)
    for old in search.out.glob("front-*.toml"):
        old.unlink()
    for place, one in enumerate(found, 1):
        _write(search, one, search.out / f"front-{place}.toml", "of the Pareto front")
    told = [asdict(one) for one in found]
    files.write_json(search.out / FRONT, {"metric": search.metric, "front": told})
    return path


def _write(search: Search, one: Trial, path: Path, what: str) -> None:
    config = variables.applied(search.config, one.settings)
    head = f"{search.metric} {one.value:.6g}, {what}"
    files.write(path, tomls.text(config, head).encode())
