"""Clients that belong together: a federation taken apart by how alike its updates are.

Each cluster's replies are merged by themselves, beside the merge of everybody's, and
each gets settings of its own, so that it can go on as a federation whose model is kept
apart from the others'.

Source: Briggs et al., `Federated learning with hierarchical clustering of local updates
<https://arxiv.org/abs/2004.11791>`_, 2020: one measurement, then every cluster trains
by itself. (Here it starts from the base model again.)
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...aggregators.compare import compare
from ...protocols.errors import ConfigError
from ...protocols.settings import Config
from .. import files, protections, records
from . import personals, tomls
from .clusters import clusters
from .looks import Look
from .revisits import Round, revisited
from .watches import Tell, unheard

FILE = "clusters.json"
TEXTS = 256
"""Of each member's that merges are judged on."""


def divide(
    folder: Path,
    out: Path,
    *,
    count: int = 2,
    number: int = 0,
    metric: str = "",
    tell: Tell = unheard,
) -> dict[str, Any]:
    """Divide a finished run's clients by the cosines of their updates.

    Args:
        folder: the run's.
        out: a folder that is not there yet. For each cluster it gets
            ``cluster-N/model``, the model before the round with the merge of that
            cluster's replies, and ``cluster-N.toml``, settings that run.
        count: how many clusters.
        number: the round whose replies are looked at; 0: the last that is kept.
        metric: of clients' tasks; empty: `eval.metric`.
        tell: takes how many texts were judged, and how many will be.

    Returns:
        "round", "metric" and "clusters": of each "name", "members", "alike" (the mean
        cosine within; None of one client) and "apart" (with all others); with data at
        hand "everybody" and "own": by member, its task with either merge.

    Raises:
        ConfigError: no finished run, no such round, the folder is there, the run was
            trained under noise, or there are fewer clients than clusters.
    """
    files.unused(out)
    with revisited(folder) as visit, files.whole(out) as part:
        protections.once(visit.tape.config, Path(folder))
        chosen = visit.tape.chosen(number)
        wanted = metric or visit.tape.config.eval.metric
        look = Look(visit, TEXTS, tell)
        with visit.round(chosen) as played:
            if count > len(played.arrivals):
                raise ConfigError(f"{len(played.arrivals)} clients, {count} clusters")
            cosine = np.array(compare(list(played.arrivals))["cosine"], np.float64)
            look.begin(2 * sum(map(len, look.of(played.names).values())))
            groups = clusters(cosine.tolist(), count)
            found = [
                {"name": f"cluster-{place}"}
                | _alike(cosine, group)
                | _cluster(look, played, group, part / f"cluster-{place}", wanted)
                for place, group in enumerate(groups, 1)
            ]
        for one in found:
            name, members = one["name"], one["members"]
            config = of_members(visit.tape.config, members, out / name)
            head = f"{len(members)} clients of {visit.tape.config.run.name}"
            text = tomls.text(config, f"{head}, by themselves")
            files.write(part / f"{name}.toml", text.encode())
        told = {"round": chosen, "metric": wanted, "clusters": found}
        told = dict(records.finite(told))
        files.write_json(part / FILE, told)
    return told


def of_members(config: Config, members: Sequence[str], out: Path) -> Config:
    """A run's settings for some of its clients, from the base model on.

    Args:
        config: the run's.
        members: who takes part.
        out: the cluster's folder; its run goes to ``run`` in it.

    Example:
        >>> of_members(Config(), ["client-01"], Path("apart")).data.only
        ('client-01',)
    """
    name = f"{config.run.name}-{out.name}"
    run = replace(config.run, name=name, out=str(out / "run"))
    if config.data.source or not config.clients:
        data = replace(config.data, only=tuple(members))
        return replace(config, run=run, data=data)
    some = tuple(one for one in config.clients if one.name in members)
    return replace(config, run=run, clients=some)  # a hosted run's: it asks these


def _alike(cosine: Any, group: Sequence[int]) -> dict[str, float | None]:
    """How alike a cluster's members are, and the others to them; on average."""
    others = [place for place in range(len(cosine)) if place not in group]
    within = [cosine[one, other] for one in group for other in group if one < other]
    across = cosine[np.ix_(group, others)]
    return {
        "alike": float(np.mean(within)) if within else None,
        "apart": float(across.mean()) if others else None,
    }


def _cluster(
    look: Look, played: Round, group: Sequence[int], out: Path, metric: str
) -> dict[str, Any]:
    """One cluster's merge: written, and held against everybody's."""
    members, visit = [played.arrivals[place].name for place in group], look.visit
    tasks = look.of(members)
    update = played.merged(members).update
    personals.save(visit.session, update, 1.0, out / "model")
    everybody = played.merged().update
    return {
        "members": members,
        "everybody": look.values(tasks, everybody, metric),
        "own": look.values(tasks, update, metric),
    }
