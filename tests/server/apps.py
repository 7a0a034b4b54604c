"""A trivial but real Flower client app, for what carries messages."""

import os
import time

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedelta.protocols.messages import metrics_content, read_metrics

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Do what the message says: answer, sleep, raise, or die."""
    said = read_metrics(message.content)
    assert isinstance(said, dict)
    what = str(said.get("do", "echo"))
    if what == "raise":
        raise ValueError("a secret of the client's")
    if what == "die":
        os._exit(9)
    if what.startswith("sleep"):
        time.sleep(float(what.removeprefix("sleep")))
    answer: dict[str, float | int | str] = {
        "client": str(context.node_config["client"]),
        "pid": os.getpid(),
    }
    reply = Message(metrics_content(answer), reply_to=message)
    if what == "spoof":
        reply.metadata.__dict__["_src_node_id"] = 999
        reply.metadata.__dict__["_reply_to_message_id"] = "another"
    return reply
