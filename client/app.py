"""The data owner's Flower app: it trains, judges and answers for one client.

Beside Flower's own it reads ``run_config["config"]`` (the run's `Config` as JSON) and
``node_config["client"]`` and ``["state"]`` (its roster name and its folder). Nothing
of a client's data is in any reply: a payload, numbers, and errors without quotes.
"""

import functools
import time
from collections.abc import Callable

from ..protocols import telemetry  # noqa: F401  isort: skip  before flwr

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from ..protocols import messages, seeds
from ..protocols.errors import ContributionError, StaleRoundError
from ..protocols.plans import RoundPlan
from . import (
    baselines,
    clippings,
    identities,
    masked,
    noises,
    personals,
    probes,
    restrictions,
    sending,
    sessions,
    signatures,
    statistics,
)
from .adapters import adapted
from .evaluation import evaluate as judge
from .failures import error_reply
from .keeps import Keeps
from .layouts import personal
from .models import run_key

app = ClientApp()

Handler = Callable[[Message, Context], RecordDict]


def _guarded(handler: Handler) -> Callable[[Message, Context], Message]:
    """A handler whose failures become error replies that quote nothing."""

    @functools.wraps(handler)
    def answer(message: Message, context: Context) -> Message:
        try:
            return Message(handler(message, context), reply_to=message)
        except Exception as error:  # noqa: BLE001  whatever it was, it ends this reply
            return error_reply(message, error)

    return answer


@app.train()
@_guarded
def train(message: Message, context: Context) -> RecordDict:
    """One round: bring the model up to date, train, reply with what changed."""
    begun = time.monotonic()
    plan, updates = messages.read_plan(message.content)
    session = _session(context)
    if session.config.privacy.secure_aggregation:
        raise ContributionError("this run's changes are sent under masks alone")
    name = identities.name(context, session.task)
    home = sessions.folder(identities.home(context, name), plan.run)
    _check(plan, name, session)
    config, base = session.config.of(name), session.base
    sessions.bring(base, plan, updates, home)
    own, held = session.task.split(name)
    kept = Keeps.opened(config, plan, home, base)
    start = base.start(config, run_key(config), plan.round) | dict(kept.factors)
    key = seeds.key("train", config.run.seed, plan.round, name)
    with adapted(base, config, start) as adapter:
        adapter.correct(kept.correction())
        metrics = clippings.trainer(config, plan, home, own).train(adapter, own, key)
        if config.eval.where in ("clients", "both") and len(held):
            judged = judge(base, held, config)
            metrics |= {f"validation_{what}": judged[what] for what in sorted(judged)}
        change, private = adapter.change(), adapter.own()
        change |= statistics.measured(adapter, own, config, key) | kept.further(change)
    if config.eval.probes and len(held):
        metrics |= probes.own(base, change, start, held, config)
    weight = _weight(session, name)
    sent = sending.reply(change, plan, config, home, base.digest, weight)
    kept.keep(private, sent.further)
    metrics |= sent.metrics | {"examples": float(weight)}
    metrics |= {"seconds": time.monotonic() - begun}
    return messages.reply_content(
        sent.data,
        metrics,
        signatures.given(context.node_config, home, plan, sent.data),
    )


@app.train("masks")
@_guarded
def train_masked(message: Message, context: Context) -> RecordDict:
    """One round whose change is sent under masks: nothing else of it is told."""
    plan, updates = messages.read_plan(message.content)
    session, place = _session(context), masked.Place.of(message.content, context)
    _check(plan, place.name, session)
    config, base = place.config, session.base
    sessions.bring(base, plan, updates, place.home)
    own, _ = session.task.split(place.name)
    start = base.start(config, run_key(config), plan.round)
    key = seeds.key("train", config.run.seed, plan.round, place.name)
    with adapted(base, config, start) as adapter:
        clippings.trainer(config, plan, place.home, own).train(adapter, own, key)
        change = noises.brought(config, adapter.change(), base.pairs(config), start)
    return masked.contribute(message.content, plan, place, change)


@app.query("masks")
@_guarded
def masks(message: Message, context: Context) -> RecordDict:
    """A step of a masked round that needs neither data nor model."""
    place = masked.Place.of(message.content, context)
    return masked.answer(message.content, place)


@app.train("alone")
@_guarded
def alone(message: Message, context: Context) -> RecordDict:
    """A baseline: train without the federation and judge on the global test set."""
    data, rounds = baselines.asked(message.content)
    session = _session(context)
    restrictions.unmeasured(session.config)
    name = identities.name(context, session.task)
    found = baselines.alone(session, name, data, rounds)
    return messages.metrics_content(found)


@app.evaluate()
@_guarded
def evaluate(message: Message, context: Context) -> RecordDict:
    """Judge the global model on this client's validation examples."""
    plan, updates = messages.read_plan(message.content)
    session = _session(context)
    restrictions.unmeasured(session.config)
    name = identities.name(context, session.task)
    _check(plan, name, session)
    home = sessions.folder(identities.home(context, name), plan.run)
    sessions.bring(session.base, plan, updates, home)
    _, held = session.task.split(name)
    if not len(held):
        raise ContributionError("no examples are held for validation")
    config, base = session.config.of(name), session.base
    if config.personal.steps and plan.round == config.run.rounds:
        personals.keep(base, config, session.task.split(name), name, home)
    if not personal(config):
        return messages.metrics_content(judge(base, held, config))
    kept = Keeps.opened(config, plan, home, base)
    start = base.start(config, run_key(config), plan.round) | dict(kept.factors)
    with adapted(base, config, start):
        return messages.metrics_content(judge(base, held, config))


@app.query()
@_guarded
def query(message: Message, context: Context) -> RecordDict:  # noqa: ARG001  Flower's
    """Who is here, with how much, on what."""
    session = _session(context)
    name = identities.name(context, session.task)
    layout = session.base.layout(session.config.of(name))
    own, held = session.task.split(name)
    return messages.metrics_content(
        {
            "client": name,
            "examples": float(len(own)),
            "validation": float(len(held)),
            "layout": layout.fingerprint,
            "base": session.base.digest,
        }
    )


def _session(context: Context) -> sessions.Session:
    session = sessions.session(messages.config_text(context.run_config))
    restrictions.check(session.config)
    return session


def _check(plan: RoundPlan, name: str, session: sessions.Session) -> None:
    """Refuse a plan that is not for this client and this adapter."""
    if plan.client != name:
        raise StaleRoundError("the plan is for another client")
    if plan.layout != session.base.layout(session.config.of(name)).fingerprint:
        raise StaleRoundError(
            "the plan asks for another layout: rank, targets or classes differ"
        )


def _weight(session: sessions.Session, name: str) -> int:
    """How many examples a client counts for: its training examples, capped."""
    count = len(session.task.split(name)[0])
    caps = {one.name: one.examples_cap for one in session.config.clients}
    return min(count, caps.get(name) or count)
