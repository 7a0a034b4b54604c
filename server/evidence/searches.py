"""Which settings do best: trials one after another, kept as they are made.

Settings that differ in the merge alone are judged on the same sealed replies, so that
training is paid once for each way to train. A trial's merge is that of the run's last
round, on the model that its replies were trained from, and is judged on what the
clients keep for validation; on the test set where they keep nothing.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ...client.evaluation import evaluate
from ...client.trials import trial
from ...protocols import digests, seeds
from ...protocols.errors import ConfigError, ContributionError, RoundError
from ...protocols.metrics import falls
from ...protocols.settings import Config, Gate
from .. import evaluation, protections, simulations
from ..checks import check
from ..records import Listener
from . import variables
from .keepers import model
from .looks import drawn
from .revisits import Revisit, revisited
from .samplers import Sampler
from .variables import Value

TRIALS = "trials.jsonl"
MOST = 256
"""Of what a client keeps that trials are judged on."""
FAILED = 1e9
"""What a sampler is told of settings that cannot be used."""
GOALS = ("bytes", "worst", "epsilon")
"""What a sampler may be told of beside the metric."""


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
        listeners: called with every line that a run records as it trains.
        goals: what else samplers are told of, of `GOALS`.
        done: trials so far, oldest first.
    """

    config: Config
    out: Path
    metric: str
    workers: int = 0
    tell: Callable[[Trial], None] = lambda _: None
    listeners: Sequence[Listener] = ()
    goals: Sequence[str] = ()
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

    def costs(self, one: Trial) -> list[float]:
        """What a trial comes to by the further goals: less is better."""
        sign = 1.0 if falls(self.metric) else -1.0
        known = {"bytes": one.bytes, "worst": one.worst, "epsilon": one.epsilon}
        found = []
        for name in self.goals:
            value = known[name]
            if one.value is None or value is None:
                found.append(FAILED)
            else:
                found.append(sign * value if name == "worst" else float(value))
        return found

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
            made.tell(self.worth(one), *self.costs(one))
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
        return self._known(given) or self._new(dict(given))

    def _known(self, given: Mapping[str, Value]) -> Trial | None:
        return next((one for one in self.done if one.settings == dict(given)), None)

    def _new(self, given: dict[str, Value]) -> Trial:
        """The next trial; a sampler that asks for the same again is told the same."""
        return self.keep(self._known(given) or self.tried(given))

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
        folder = self.folder(given)
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
            simulations.resume(folder, workers=self.workers, listeners=self.listeners)
        else:
            simulations.simulate(config, workers=self.workers, listeners=self.listeners)
        return folder

    def folder(self, given: Mapping[str, Value]) -> Path:
        """Where a run of these settings is."""
        text = json.dumps(dict(given), sort_keys=True)
        return self.out / "runs" / digests.of_bytes(text.encode())[:12]


def values(visit: Revisit, metric: str) -> dict[str, float]:
    """A metric by client, on `MOST` of what it keeps; "": the test set's, without."""
    session, config = visit.session, visit.tape.config
    base = model(session)
    names = [name for name in visit.tape.task.clients if len(visit.judging(name))]
    if not names:
        return {"": evaluation.on_server(session)[metric]}
    key = seeds.key("search", config.run.seed)
    some = {n: drawn(visit.judging(n), MOST, key) for n in names}
    found = {name: evaluate(base, one, config) for name, one in some.items()}
    if metric not in next(iter(found.values())):
        raise ConfigError(f"--metric {metric}: there is no such metric")
    return {name: one[metric] for name, one in found.items()}


def _mean(visit: Revisit, found: Mapping[str, float]) -> float:
    """By examples that clients keep."""
    counts = {name: max(1, len(visit.judging(name))) if name else 1 for name in found}
    return sum(found[n] * counts[n] for n in found) / sum(counts.values())
