"""A federation that does nothing but send ten numbers there and back."""

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ClientApp()
server = ServerApp()
ROUNDS = 3


@app.train()
def train(message: Message, context: Context) -> Message:  # noqa: ARG001  Flower's
    """Add one."""
    sent = message.content.array_records["arrays"]["w"].numpy()
    content = RecordDict(
        {
            "arrays": ArrayRecord({"w": Array(sent + np.float32(1))}),
            "metrics": MetricRecord({"num-examples": 1}),
        }
    )
    return Message(content, reply_to=message)


def start() -> ArrayRecord:
    """The model: ten numbers."""
    return ArrayRecord({"w": Array(np.zeros(10, np.float32))})


@server.main()
def main(grid: Grid, context: Context) -> None:  # noqa: ARG001  Flower's
    """Flower's own strategy."""
    strategy = FedAvg(fraction_evaluate=0.0)
    found = strategy.start(grid, start(), num_rounds=ROUNDS)
    if found.arrays["w"].numpy()[0] != ROUNDS:
        raise SystemExit("the rounds did not add up")
