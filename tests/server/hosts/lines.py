"""A worker whose client may have a slow line: ``python -m tests.server.hosts.lines``.

``FEDELTA_TEST_SLOW`` says who waits how long before training: "bob=2.5 cleo=4".
"""

import os
import time

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedelta.client import worker
from fedelta.client.app import app as honest

SLOW = "FEDELTA_TEST_SLOW"


def slow() -> ClientApp:
    """Our client app, with waits."""
    app = ClientApp()
    waits = dict(one.split("=") for one in os.environ.get(SLOW, "").split())

    def passed(message: Message, context: Context) -> Message:
        return honest(message, context)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        time.sleep(float(waits.get(str(context.node_config["client"]), 0)))
        return honest(message, context)

    app.evaluate()(passed)
    app.query()(passed)
    return app


if __name__ == "__main__":
    worker.main(slow())
