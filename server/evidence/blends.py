"""How much of each client's update makes the best model: coefficients, learned.

Three ways, none of which trains a weight: by the gradient of the entropy of what the
mixed model predicts, which needs no labels (AdaMerging); by that of the loss; and by
trying, with what coefficients come to added to the loss (Huang et al., `LoraHub
<https://arxiv.org/abs/2307.13269>`_, 2024, which mixes factors where this mixes
products). One half of the examples is learned by, the other half judges.
"""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ...client.blends import Blend, Reals, learned
from ...client.data import Examples
from ...client.evaluation import evaluate
from ...client.models import Base
from ...client.trials import trial
from ...protocols import seeds
from ...protocols.errors import ConfigError
from ...protocols.settings import Config
from .. import files, protections, records
from .keepers import model
from .personals import save
from .revisits import Revisit, Round, revisited
from .soups import judging
from .watches import Tell, unheard

FILE = "blend.json"
AIMS = ("entropy", "loss", "search")
WIDTH, EDGE, WEIGHT = 0.3, 1.5, 0.05
"""Of a search: how far it looks at first, how far at most, what size costs."""
LEAST = 4


def blend(  # noqa: PLR0913  one argument an option
    folder: Path,
    out: Path,
    aim: str = "entropy",
    steps: int = 20,
    *,
    layers: bool = False,
    most: int = 256,
    tell: Tell = unheard,
) -> dict[str, Any]:
    """Learn coefficients of a finished run's last round, and write that model.

    Args:
        folder: the run's.
        out: a folder that is not there yet: ``model/`` and ``blend.json``.
        aim: "entropy", "loss" or "search".
        steps: of the descent; of a search, generations.
        layers: a coefficient for each client and layer, not for each client alone.
        most: examples of either half.
        tell: takes how many steps are done, and of how many.

    Returns:
        "aim", "round", "metric"; "coefficients" by client and layer ("all" where there
        is one); "met", the aim step by step; "judged": the metric, on the half that was
        not learned by, of the "last" model, the run's own "merged" one and the "blend".

    Raises:
        ConfigError: no finished run, no examples, the folder is there, or what a search
            needs is not installed.
    """
    if aim not in AIMS:
        raise ConfigError(f"--by {aim}: it is one of {', '.join(AIMS)}")
    if aim == "search" and find_spec("cma") is None:
        raise ConfigError('--by search needs cma: pip install "fedelta[search]"')
    files.unused(out)
    with revisited(folder) as visit, files.whole(out) as part:
        protections.once(visit.tape.config, Path(folder))
        _check(visit.tape.config)
        number = visit.tape.complete()[-1]
        with visit.round(number) as played:
            base, metric = model(visit.session), visit.tape.config.eval.metric
            learning, held = _halves(visit, most)
            given = _given(base, played, layers=layers)
            begun = _begun(given, played)
            each, some = _counted(steps + 1, tell), (given, begun, learning)
            if aim == "search":
                values, met = _searched(visit, some, each)
            else:
                run = visit.tape.config, "loss" if aim == "loss" else "entropy"
                values, met = learned(base, *some, run, each)  # type: ignore[arg-type]
            made = given.mixed(values)
            tried = {"last": {}, "merged": played.merged().update, "blend": made}
            judged = {}
            for name, update in tried.items():
                with trial(base, update):
                    judged[name] = evaluate(base, held, visit.tape.config)[metric]
            save(visit.session, made, 1.0, part / "model")
        told = records.finite(
            {
                "aim": aim,
                "round": number,
                "metric": metric,
                "examples": {"learning": len(learning), "judging": len(held)},
                "coefficients": _named(given, values),
                "met": met,
                "judged": judged,
            }
        )
        files.write_json(part / FILE, told)
    return dict(told)


def _counted(total: int, tell: Tell) -> Iterator[int]:
    """Steps from 1 on, each told as it is done."""
    tell(0, total)
    for step in range(1, total + 1):
        yield step
        tell(step, total)


def _check(config: Config) -> None:
    lora = config.train.mode == "lora" and config.lora.space
    if lora in ("share-a", "core"):
        raise ConfigError(
            f'lora.space = "{lora}": its replies are no changes of weights'
        )


def _halves(visit: Revisit, most: int) -> tuple[Examples, Examples]:
    """What is learned by, and what judges: the same for the same run."""
    some = judging(visit)
    if len(some) < LEAST:
        raise ConfigError("too few examples: set data.validation or data.test")
    key = seeds.key("blend", visit.tape.config.run.seed)
    order, middle = seeds.permutation(key, len(some)), len(some) // 2
    return some.take(order[:middle][:most]), some.take(order[middle:][:most])


def _given(base: Base, played: Round, *, layers: bool) -> Blend:
    number = len(base.applied) + 1
    own = {
        one.name: base.starts.completed(played.solo(one.name), number)
        for one in played.arrivals
    }
    return Blend.of(own, layers=layers)


def _begun(given: Blend, played: Round) -> Reals:
    """What everybody counts for in a plain mean."""
    shares = np.array([one.share for one in played.arrivals], np.float64)
    return np.repeat((shares / shares.sum())[:, None], len(given.names), 1)


def _named(given: Blend, values: Reals) -> dict[str, dict[str, float]]:
    return {
        name: dict(zip(given.names, own.tolist(), strict=True))
        for name, own in zip(given.updates, values, strict=True)
    }


def _searched(
    visit: Revisit, some: tuple[Blend, Reals, Examples], steps: Iterator[int]
) -> tuple[Reals, list[float]]:
    """Coefficients by CMA-ES, each generation judged as a whole."""
    base, config = model(visit.session), visit.tape.config
    given, begun, examples = some

    def cost(flat: Reals) -> float:
        values = flat.reshape(begun.shape)
        with trial(base, given.mixed(values)):
            loss = evaluate(base, examples, config)["loss"]
        return loss + WEIGHT * float(np.abs(values).sum()) / len(given.names)

    return _evolved(cost, begun, steps, config.run.seed)


def _evolved(
    cost: Callable[[Reals], float], begun: Reals, steps: Iterator[int], seed: int
) -> tuple[Reals, list[float]]:
    import cma

    flat = begun.ravel()
    next(steps)
    best, met = (cost(flat), flat), list[float]()
    options: dict[str, Any] = {
        "bounds": [-EDGE, EDGE],
        "seed": seed % (1 << 31) + 1,
        "verbose": -9,
    }
    if flat.size == 1:  # CMA-ES has two dimensions or more
        raise ConfigError("a search mixes two updates or more")
    strategy = cma.CMAEvolutionStrategy(flat, WIDTH, options)
    met.append(best[0])
    for _ in steps:
        asked = strategy.ask()
        costs = [cost(np.asarray(one, np.float64)) for one in asked]
        strategy.tell(asked, costs)
        place = int(np.argmin(costs))
        if costs[place] < best[0]:
            best = costs[place], np.asarray(asked[place], np.float64)
        met.append(best[0])
    return best[1].reshape(begun.shape), met
