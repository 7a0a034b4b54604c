"""The node that speaks for a region upwards: it passes on, and does nothing else.

What comes from the server above is put into the region's spool, where the region's own
server finds it; what that answers goes back. So this process may die at any moment.
"""

from pathlib import Path

from ..protocols import telemetry  # noqa: F401  isort: skip  before flwr

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from ..protocols.bundles import Ask
from ..protocols.errors import ContributionError
from ..protocols.messages import read_reply, reply_content
from ..protocols.refusals import Refusal
from .failures import error_reply
from .joins.tasks import main as run
from .spools import Spool

SPOOL = "spool"

app = ClientApp()


@app.query("region")
def region(message: Message, context: Context) -> Message:
    """Pass a parcel on, and its answer back."""
    try:
        parcel = _parcel(message)
        root = Path(str(context.node_config["folder"])).parent / SPOOL
        spool = Spool.of(root, str(context.run_config["config"]))
        name = str(message.metadata.message_id)[:64]
        spool.put(name, parcel)
        answer = spool.take(name, Ask.read(parcel).seconds)
    except Exception as error:  # noqa: BLE001  whatever it was, it ends this reply
        return error_reply(message, error)
    return Message(reply_content(answer, {}), reply_to=message)


def _parcel(message: Message) -> bytes:
    said = read_reply(message.content)
    if isinstance(said, Refusal):
        raise ContributionError(f"not a parcel: {said}")
    return said[0]


def _alone(message: Message, context: Context) -> Message:  # noqa: ARG001  Flower's
    why = (
        "this node speaks for a region: name its institutions in [[clients]], each "
        "with this region"
    )
    return error_reply(message, ContributionError(why))


app.train()(_alone)
app.evaluate()(_alone)
app.query()(_alone)


if __name__ == "__main__":
    run("fedelta.client.relay")
