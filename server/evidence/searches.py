"""Which settings do best: trials one after another, kept as they are made.

Settings that differ in the merge alone are judged on the same sealed replies, so that
training is paid once for each way to train. A trial's merge is that of the run's last
round, on the model that its replies were trained from, and is judged on what the
clients keep for validation; on the test set where they keep nothing.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ...client.evaluation import evaluate
from ...client.trials import trial
from ...protocols import digests
from ...protocols.errors import ConfigError, ContributionError, RoundError
from ...protocols.metrics import falls
from ...protocols.settings import Config, Gate
from .. import evaluation, files, protections, simulations
from ..checks import check
from . import tomls, variables
from .keepers import model
from .revisits import Revisit, revisited
from .samplers import Sampler
from .variables import Value

TRIALS, BEST, FRONT = "trials.jsonl", "best.toml", "front.json"
FAILED = 1e9
"""What a sampler is told of settings that cannot be used."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Settings that were tried.

    Attributes:
        settings: keys with their values.
        value: the metric; None: they could not be used.
        worst: the metric of the client that is worst off; None: not known.
        bytes: both ways, of the run that the replies are of.
        rounds: of that run.
        said: why they could not be used.
        epsilon: what that run spent; None: no guarantee was asked for.
    """

    settings: dict[str, Value]
    value: float | None
    worst: float | None = None
    bytes: int = 0
    rounds: int = 0
    said: str = ""
    epsilon: float | None = None


@dataclass(slots=True)
class Search:
    """A search in a folder.

    Attributes:
        config: what is varied from.
        out: the folder; runs are in its ``runs``.
        metric: what is to be good.
        workers: processes that run clients.
        tell: called with every trial.
        done: trials so far, oldest first.
    """

    config: Config
    out: Path
    metric: str
    workers: int = 0
    tell: Callable[[Trial], None] = lambda _: None
    done: list[Trial] = field(default_factory=list)
    _held: dict[str, Revisit] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        """Take up what an earlier search left in the folder."""
        path = self.out / TRIALS
        if path.exists():
            lines = path.read_text("utf-8").splitlines()
            self.done = [Trial(**json.loads(line)) for line in lines if line]

    def close(self) -> None:
        """Let go of runs that were opened."""
        self._stack.close()

    def worth(self, one: Trial) -> float:
        """A trial as samplers are told it: less is better."""
        if one.value is None:
            return FAILED
        return one.value if falls(self.metric) else -one.value

    def run(self, made: Sampler, budget: int) -> list[Trial]:
        """Try so many settings in all; those of an earlier search count.

        Returns:
            All trials, best first.
        """
        for place in range(budget):
            chosen = made.ask()
            if chosen is None:
                break
            given = variables.settings(chosen)
            one = self.done[place] if place < len(self.done) else self._new(given)
            if one.settings != given:
                raise ConfigError(
                    f"{self.out} holds another search: choose another folder by --out"
                )
            made.tell(self.worth(one))
        return sorted(self.done, key=self.worth)

    def halved(self, given: Sequence[Mapping[str, Value]]) -> list[Trial]:
        """Few rounds first: the better half of what was tried gets twice as many.

        Returns:
            The trials of the last rung, best first.
        """
        rounds, left = max(1, self.config.run.rounds // 4), [dict(one) for one in given]
        while True:
            rung = [self.once(one | {"run.rounds": rounds}) for one in left]
            rung.sort(key=self.worth)
            if rounds >= self.config.run.rounds:
                return rung
            kept = rung[: max(1, len(rung) // 2)]
            left = [dict(one.settings) for one in kept]
            rounds = min(2 * rounds, self.config.run.rounds)

    def once(self, given: Mapping[str, Value]) -> Trial:
        """Try settings, or say what they came to before."""
        known = next((one for one in self.done if one.settings == dict(given)), None)
        return known or self._new(dict(given))

    def _new(self, given: dict[str, Value]) -> Trial:
        return self.keep(self.tried(given))

    def tried(self, given: dict[str, Value]) -> Trial:
        """Try settings; nothing is written but what is trained."""
        try:
            return self._judged(given)
        except (ConfigError, ContributionError, RoundError) as error:
            return Trial(given, None, said=str(error))

    def keep(self, one: Trial) -> Trial:
        """Write a trial down, and tell it."""
        self.done.append(one)
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / TRIALS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(one), sort_keys=True) + "\n")
        self.tell(one)
        return one

    def _judged(self, given: dict[str, Value]) -> Trial:
        check(variables.applied(self.config, given))
        text, trained = self.parts(given)
        visit = self._trained(trained)
        if text is None:
            visit.kept()
            found = values(visit, self.metric)
        else:
            with visit.round(visit.tape.complete()[-1]) as played:
                update = played.merged((), text).update
                with trial(model(visit.session), update):
                    found = values(visit, self.metric)
        sent = visit.tape.summary["bytes"]
        cost = int(sent["up"] + sent["down"])
        worst = None
        if len(found) > 1:
            worst = (max if falls(self.metric) else min)(found.values())
        spent = visit.tape.summary.get("privacy") or {}
        return Trial(
            given,
            _mean(visit, found),
            worst,
            cost,
            visit.tape.config.run.rounds,
            epsilon=spent.get("epsilon"),
        )

    def parts(self, given: Mapping[str, Value]) -> tuple[str | None, dict[str, Value]]:
        """The recipe that merges anew, and what is trained by.

        None for a recipe where replies are merged but once, under noise or masks: the
        run's own last model is judged then.
        """
        config = variables.applied(self.config, given)
        if protections.active(config) or config.privacy.secure_aggregation:
            return None, dict(given)
        return variables.apart(given)

    def _trained(self, given: Mapping[str, Value]) -> Revisit:
        """A run of these settings, opened."""
        folder = self.train(given)
        if folder.name not in self._held:
            made = self._stack.enter_context(revisited(folder))
            self._held[folder.name] = made
        return self._held[folder.name]

    def train(self, given: Mapping[str, Value]) -> Path:
        """A run of these settings, by the configuration's own recipe; trained once.

        Returns:
            Its folder.
        """
        name = digests.of_bytes(json.dumps(given, sort_keys=True).encode())[:12]
        folder = self.out / "runs" / name
        if (folder / simulations.SUMMARY).exists():
            return folder
        config = variables.applied(self.config, given)
        config = replace(
            config,
            run=replace(config.run, out=str(folder)),
            eval=replace(config.eval, local=False, central=False),
            gate=Gate(),
        )
        if (folder / simulations.CONFIG).exists():
            simulations.resume(folder, workers=self.workers)
        else:
            simulations.simulate(config, workers=self.workers)
        return folder


def values(visit: Revisit, metric: str) -> dict[str, float]:
    """A metric by client; under "" on the test set where clients keep nothing."""
    session, config = visit.session, visit.tape.config
    base = model(session)
    names = [name for name in visit.tape.task.clients if len(visit.judging(name))]
    if not names:
        return {"": evaluation.on_server(session)[metric]}
    found = {n: evaluate(base, visit.judging(n), config) for n in names}
    if metric not in next(iter(found.values())):
        raise ConfigError(f"--metric {metric}: there is no such metric")
    return {name: one[metric] for name, one in found.items()}


def _mean(visit: Revisit, found: Mapping[str, float]) -> float:
    """By examples."""
    counts = {name: max(1, len(visit.judging(name))) if name else 1 for name in found}
    return sum(found[n] * counts[n] for n in found) / sum(counts.values())


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

    good = [one for one in trials if one.value is not None]
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
    """Write the best settings as a configuration that runs, and the Pareto front.

    Raises:
        ConfigError: nothing could be used.
    """
    best = ordered[0] if ordered else None
    if best is None or best.value is None:
        why = best.said if best else "nothing was tried"
        raise ConfigError(f"no settings could be used: {why}")
    given = {k: v for k, v in best.settings.items() if k != "run.rounds"}
    config = variables.applied(search.config, given)
    head = f"{search.metric} {best.value:.6g}, the best of {len(search.done)} trials"
    path = search.out / BEST
    files.write(path, tomls.text(config, head).encode())
    told = [asdict(one) for one in front(search.done, search.metric)]
    files.write_json(search.out / FRONT, {"metric": search.metric, "front": told})
    return path
