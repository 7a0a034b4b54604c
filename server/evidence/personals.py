"""A finished run's clients one by one: what a model of its own gives each of them.

Everything here is done with the clients' data at hand, so it is for simulations. Of
what a client keeps for validation one half chooses its mix, and the other half, which
nobody chose or trained by, judges all models.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from ...client import baselines, personals, sessions
from ...client.data import Examples
from ...client.trials import scaled, trial
from ...protocols import seeds
from ...protocols.digests import of_tensors
from ...protocols.errors import ConfigError
from ...protocols.vectors import Floats
from .. import exports, files, protections, records
from ..sessions import Session
from ..versions import Update
from . import retentions
from .ballots import tried
from .keepers import model
from .revisits import Revisit, revisited
from .watches import Tell, unheard

FILE = "personal.json"
BASE, LOCAL, GLOBAL, TUNED, PERSONAL = "base", "local", "global", "tuned", "personal"
MODELS = (BASE, LOCAL, GLOBAL, TUNED, PERSONAL)
MOST = 256
"""Examples by which a client's mix is chosen, and by which models are judged."""
FEWEST = 4
"""Examples that a client keeps, below which it can neither choose nor be judged."""


@dataclass(frozen=True, slots=True)
class Halves:
    """A client's examples.

    Attributes:
        own: what it trains on.
        choosing: by what its mix is chosen.
        judging: by what models are judged.
    """

    own: Examples
    choosing: Examples
    judging: Examples


@dataclass(frozen=True, slots=True)
class Asked:
    """How clients come to models of their own.

    Attributes:
        steps: of each client's own training; 0: ``train.steps``.
        shares: of it that are tried.
        metric: by which shares are chosen; empty: `eval.metric`.
        local: also train each client alone, as long as the run.
        texts: of what a client keeps, how many choose at most, and as many judge; 0:
            all.
    """

    steps: int = 0
    shares: tuple[float, ...] = personals.SHARES
    metric: str = ""
    local: bool = True
    texts: int = MOST


def personalise(
    folder: Path, asked: Asked = Asked(), tell: Tell = unheard
) -> dict[str, Any]:
    """Give each client of a finished run a model of its own, beside the global one.

    What was begun and stopped goes on with the clients that are left.

    Args:
        folder: the run's; adapters go to its ``personal/NAME``, what was found to its
            ``personal.json``.
        asked: how.
        tell: takes how many clients are done, and of how many.

    Returns:
        "metric", "steps"; "by_client": a value a model of `MODELS`, "share", "tried",
        "chosen_by" and "judged_by" (examples); "mean" and "worst" by model.

    Raises:
        ConfigError: no finished run, its data is not here, it was trained under noise,
            its clients keep no examples, or keep factors of their own.
    """
    with revisited(folder) as visit:
        config, path = visit.tape.config, Path(folder) / FILE
        protections.once(config, Path(folder))
        steps = asked.steps or config.train.steps
        asked = replace(asked, steps=steps, metric=asked.metric or config.eval.metric)
        told: dict[str, Any] = {"run": visit.session.run, **asdict(asked)}
        told["shares"] = list(asked.shares)
        found = _begun(path, told)
        parts = halves(visit, asked.texts)
        for name, part in parts.items():
            tell(len(found), len(parts))
            if name not in found:
                found[name] = _before(visit, name, part, asked)
                found[name] |= _client(visit.kept(), name, part, asked)
                files.write_json(path, records.finite(told | {"by_client": found}))
    told |= {"by_client": found, **summarised(found, asked.metric)}
    whole = dict(records.finite(told))
    files.write_json(path, whole)
    return whole


def _begun(path: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    """What was found, clients one by one, before the same was stopped."""
    kept = files.read_json(path) if path.exists() else {}
    if "mean" in kept or any(kept.get(key) != told[key] for key in told):
        return {}
    return dict(kept["by_client"])


def halves(visit: Revisit, most: int = MOST) -> dict[str, Halves]:
    """Each client's examples, the same for the same run.

    Args:
        visit: the run.
        most: so many to choose by at most, and as many to judge by; 0: all.

    Raises:
        ConfigError: the data is elsewhere, or nobody keeps enough of it.
    """
    task, found = visit.tape.task, dict[str, Halves]()
    for name, own in task.clients.items():
        if not len(own):
            raise ConfigError(
                f"the data of {name} is not here: this is for simulations"
            )
        train, held = task.split(name)
        if len(held) < FEWEST:
            continue
        order = seeds.permutation(
            seeds.key(personals.FOLDER, task.seed, name), len(held)
        )
        middle = len(held) // 2
        choosing, judging = order[:middle], order[middle:]
        size = most or len(held)
        found[name] = Halves(
            train, held.take(choosing[:size]), held.take(judging[:size])
        )
    if not found:
        raise ConfigError(
            f"no client keeps {FEWEST} examples to choose and be judged by: raise "
            "data.validation"
        )
    return found


def summarised(
    found: Mapping[str, Mapping[str, Any]],
    metric: str,
    models: Sequence[str] = MODELS,
) -> dict[str, dict[str, float]]:
    """Mean and worst client of every model that was judged.

    Example:
        >>> told = summarised({"a": {"global": 0.5}, "b": {"global": 0.75}}, "accuracy")
        >>> told["mean"], told["worst"]
        ({'global': 0.625}, {'global': 0.5})
    """
    there = [name for name in models if all(name in one for one in found.values())]
    values = {name: {n: one[name] for n, one in found.items()} for name in there}
    return {
        "mean": {name: fmean(one.values()) for name, one in values.items()},
        "worst": {
            name: retentions.fairness(one, metric)["worst"]["value"]
            for name, one in values.items()
        },
    }


def _before(visit: Revisit, name: str, part: Halves, asked: Asked) -> dict[str, Any]:
    """What the base model does for a client, and one that it trains alone."""
    session = visit.at(0)
    base, config = model(session), session.config
    found = {
        BASE: personals.judged(base, part.judging, config, asked.metric)[asked.metric]
    }
    if asked.local:
        where = sessions.Session(config, session.task, base)
        said = baselines.alone(where, name, baselines.OWN, on=part.judging)
        found[LOCAL] = said[asked.metric]
    return found


def _client(session: Session, name: str, part: Halves, asked: Asked) -> dict[str, Any]:
    """One client's own training, its mix, and what each model does for it."""
    base, config, metric = model(session), session.config.of(name), asked.metric
    key = seeds.key(personals.FOLDER, config.run.seed, name)
    update = personals.tuned(base, config, part.own, asked.steps, key)
    mix = personals.mixed(
        base, update, part.choosing, config, metric=metric, shares=asked.shares
    )
    values: dict[float, float] = {}
    for share in {0.0, 1.0, mix.share}:
        with trial(base, update if share else {}, share):
            values[share] = personals.judged(base, part.judging, config, metric)[metric]
    save(session, update, mix.share, session.journal.folder / personals.FOLDER / name)
    return {
        GLOBAL: values[0.0],
        TUNED: values[1.0],
        PERSONAL: values[mix.share],
        "share": mix.share,
        "tried": {f"{share:g}": value for share, value in mix.values.items()},
        "chosen_by": len(part.choosing),
        "judged_by": len(part.judging),
    }


def save(
    session: Session, update: Mapping[str, Floats], share: float, folder: Path
) -> None:
    """Write a session's model with a share of an update, as the run's own is written.

    Args:
        session: at the version that the update is to.
        update: factors by module (scaling 1) and dense changes by name.
        share: what it is multiplied by.
        folder: where to; what is there is replaced.
    """
    base = model(session)
    with trial(base, update if share else {}, share):
        added = scaled(update, share)
        last = Update(of_tensors(dict(added)), b"", added)
        mine = replace(session, model=tried(session.model, last))
        shutil.rmtree(folder, ignore_errors=True)
        exports.export(mine, folder)
