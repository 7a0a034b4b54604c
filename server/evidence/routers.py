"""Experts kept apart: an adapter a client, and a router that needs no training.

Each client trains on from the global model, its head left as it is. What comes of that
is not merged but put beside the others: token by token and layer by layer, a router
weighs the few experts whose updates read most from the direction of the token. It is
read off the factors themselves (the first right singular vector of B A), and `peft` has
it: `create_arrow_model`.

Source: Ostapenko et al., `Towards Modular LLMs by Building and Reusing a Library of
LoRAs <https://arxiv.org/abs/2405.11157>`_, 2024, section 4.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...client import exports, personals
from ...client.models import Base
from ...client.trials import trial
from ...protocols import seeds
from ...protocols.errors import ConfigError
from .. import files, protections, records
from ..exports import has_factors
from ..sessions import Session
from . import takeaways
from .keepers import model
from .personals import Halves, halves, summarised
from .revisits import revisited
from .watches import Tell, unheard

FILE, WHOLE, EXPERTS = "experts.json", "base", "experts"
GLOBAL, OWN, ALIKE, ROUTED = "global", "own", "alike", "routed"
MODELS = (GLOBAL, OWN, ALIKE, ROUTED)
_EVEN = 1e6
"""A temperature at which all experts count alike."""


@dataclass(frozen=True, slots=True)
class Routing:
    """How experts are weighed.

    Attributes:
        top: experts a token.
        temperature: of the softmax over them.
    """

    top: int = 3
    temperature: float = 1.0


def keep_apart(
    folder: Path,
    out: Path,
    *,
    steps: int = 0,
    routing: Routing = Routing(),
    metric: str = "",
    tell: Tell = unheard,
) -> dict[str, Any]:
    """Train an expert for each client of a finished run, and route between them.

    Args:
        folder: the run's.
        out: a folder that is not there yet: ``experts/NAME``, PEFT adapters, on
            ``base``, the global model as a transformers folder, with a card.
        steps: of each client's own training; 0: ``train.steps``.
        routing: how experts are weighed.
        metric: of clients' tasks; empty: `eval.metric`.
        tell: takes how often a model was judged on a client's task, and of how often.

    Returns:
        "metric", "top", "temperature"; "by_client": a value a model of `MODELS` (with
        all experts counted alike, and with the router); "mean" and "worst" by model.

    Raises:
        ConfigError: no finished run, its updates are no factors, its data is not here,
            or its clients do not hand on what they train.
    """
    files.unused(out)
    with files.whole(out) as part:
        with revisited(folder) as visit:
            config = visit.tape.config
            protections.once(config, Path(folder))
            if not has_factors(config) or config.lora.space == "share-a":
                raise ConfigError("experts are adapters: train.mode and lora.space")
            parts = {
                name: part
                for name, part in halves(visit).items()
                if takeaways.allowed(config, name)
            }
            if len(parts) < 2:  # noqa: PLR2004
                raise ConfigError(
                    "experts are clients' own: clients.hand_on (or data.hand_on) in "
                    f"{visit.tape.folder / 'config.json'} says who hands them on, and "
                    "at least two are needed"
                )
            wanted = metric or config.eval.metric
            session = visit.kept()
            own = dict[str, float]()
            for name, each in parts.items():
                tell(len(own), len(MODELS) * len(parts))
                where = part / EXPERTS / name
                own[name] = _expert(session, name, each, where, (steps, wanted))
            found = _judged(session, parts, part / EXPERTS, (routing, wanted), tell)
            for name, value in own.items():
                found[name][OWN] = value
        takeaways.take(folder, takeaways.TRANSFORMERS, part / WHOLE)
        told = {
            "metric": wanted,
            "top": min(routing.top, len(parts)),
            "temperature": routing.temperature,
            "by_client": found,
            **summarised(found, wanted, MODELS),
        }
        told = dict(records.finite(told))
        files.write_json(part / FILE, told)
        files.write(part / "README.md", _card(sorted(parts), routing).encode())
    return told


def _expert(
    session: Session, name: str, part: Halves, folder: Path, how: tuple[int, str]
) -> float:
    """Train one and write it; its own client's task with it."""
    base, config, (steps, metric) = model(session), session.config.of(name), how
    key = seeds.key(EXPERTS, config.run.seed, name)
    update = personals.tuned(base, config, part.own, steps, key, dense=False)
    number = len(base.applied) + 1
    exports.adapter(config, [base.starts.completed(update, number)], folder, {})
    with trial(base, update):
        return personals.judged(base, part.judging, config, metric)[metric]


def _judged(
    session: Session,
    parts: Mapping[str, Halves],
    folder: Path,
    asked: tuple[Routing, str],
    tell: Tell,
) -> dict[str, dict[str, float]]:
    """All clients' tasks with the global model, and with all experts on top of it."""
    base, config, (routing, metric) = model(session), session.config, asked
    done, total = len(parts), len(MODELS) * len(parts)
    paths = [folder / name for name in sorted(parts)]
    even = Routing(len(paths), _EVEN)

    def values() -> dict[str, float]:
        nonlocal done
        said = {}
        for name, part in parts.items():
            tell(done, total)
            said[name] = personals.judged(base, part.judging, config, metric)[metric]
            done += 1
        return said

    found = {GLOBAL: values()}
    for what, how in ((ALIKE, even), (ROUTED, routing)):
        with routed(base, paths, how):
            found[what] = values()
    return {name: {what: found[what][name] for what in found} for name in parts}


@contextmanager
def routed(base: Base, paths: Sequence[Path], how: Routing) -> Iterator[Base]:
    """A base with experts in its layers and a router between them, for a while.

    Args:
        base: the global model.
        paths: folders of PEFT adapters of one rank, for the same layers.
        how: how they are weighed.
    """
    from peft import ArrowConfig
    from peft.tuners.lora.arrow import create_arrow_model

    given = ArrowConfig(
        top_k=min(how.top, len(paths)), router_temperature=how.temperature, rng_seed=0
    )
    body: Any = base.network.body
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft's, of transformers' names
        made = create_arrow_model(body, [str(path) for path in paths], given)
    made.eval()
    try:
        yield base
    finally:
        made.unload()


def _card(names: Sequence[str], routing: Routing) -> str:
    """How the set is loaded."""
    paths = ", ".join(f'"{EXPERTS}/{name}"' for name in names)
    top, temperature = min(routing.top, len(names)), f"{routing.temperature:g}"
    return "\n".join(
        [
            "# Experts kept apart",
            "",
            f"Adapters of {len(names)} clients, each on `{WHOLE}`, and peft's router",
            "between them, which is read off their factors:",
            "",
            "```python",
            "from peft import ArrowConfig",
            "from peft.tuners.lora.arrow import create_arrow_model",
            "from transformers import AutoModel",
            "",
            f"paths = [{paths}]",
            "# how many experts a token, the temperature",
            f"how = ArrowConfig({top}, {temperature}, rng_seed=0)",
            f'base = AutoModel.from_pretrained("{WHOLE}")',
            "model = create_arrow_model(base, paths, how)",
            "```",
            "",
            "One of them alone: `PeftModel.from_pretrained(base, path)`. A head, where",
            f"there is one, is in `{WHOLE}` and the same for all of them.",
            "",
        ]
    )
