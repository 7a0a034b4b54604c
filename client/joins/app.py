"""The client app of an institution: the same client, under the institution's own file.

The coordinator's configuration says how to train; where the data is, and what is agreed
to, says ``join.toml``. A plan outside it gets a refusal with its reason.
"""

import json
import logging
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from ...protocols.errors import PayloadError
from ...protocols.messages import config_text, read_plan
from .. import app as inner
from .. import logs, sessions
from ..failures import error_reply
from . import peers, policies
from .folders import JoinFolder

app = ClientApp()
LOG = logging.getLogger("fedelta.join")


def guarded(message: Message, context: Context) -> Message:
    """Check a message's run against the policy, then answer it on the own data."""
    logs.begin(also=("flwr",))
    with logs.about(**_place(message)):
        LOG.info("%s: asked", message.metadata.message_type)
        began = time.monotonic()
        reply = _answered(message, context)
        said = f"no: {reply.error.reason}" if reply.has_error() else "answered"
        took = {"seconds": round(time.monotonic() - began, 3)}
        LOG.info("%s: %s", message.metadata.message_type, said, extra={"told": took})
    return reply


def _answered(message: Message, context: Context) -> Message:
    try:
        folder = JoinFolder.open(Path(str(context.node_config["folder"])))
        ours = _ours(folder, context)
    except Exception as error:  # noqa: BLE001  whatever it was, it ends this reply
        return error_reply(message, error)
    return inner.app(message, ours)


app.train()(guarded)
app.evaluate()(guarded)
app.query()(guarded)
app.train("masks")(guarded)
app.query("masks")(guarded)


def _place(message: Message) -> dict[str, Any]:
    """What a message is about, for the log."""
    try:
        plan, _ = read_plan(message.content)
    except PayloadError:  # a question before round 1
        return {}
    return {"run": plan.run, "round": plan.round, "client": plan.client}


def _ours(folder: JoinFolder, context: Context) -> Context:
    """The context with the institution's own data, name and folder in it."""
    asked = sessions.settings(config_text(context.run_config))
    policies.check(folder.policy, asked)
    name = folder.invitation.name
    mine = policies.own(folder.policy, asked, name)
    node = {"client": name, "state": str(folder.state / "runs")}
    node["signing"] = str(folder.signing)
    if asked.privacy.secure_aggregation:
        peers.check(folder, asked)
        node["roster"] = str(peers.written(folder))
    return replace(
        context,
        run_config={"config": json.dumps(asdict(mine), sort_keys=True)},
        node_config=dict(node),
    )
