"""`flwr-clientapp` as an institution runs it: its own client, whatever the bundle.

A SuperNode runs the code that the coordinator's bundle holds. Here it does not: this
module is put before Flower's command, and loads the client that the institution
installed and audited. Of the bundle only the configuration is read.
"""

import importlib
import os
from typing import Any

from ...protocols import telemetry  # noqa: F401  before flwr

RUNNER = "flwr.supernode.runtime.run_clientapp"


def install(runner: Any, module: str) -> None:
    """Have Flower's runner unpack nothing and load our app.

    Args:
        runner: Flower's module `RUNNER`.
        module: where our `app` is.
    """

    def unpack(*_: Any, **__: Any) -> None:
        """Leave the bundle packed."""

    def loader(**_: Any) -> Any:
        return load

    def load(*_: str) -> Any:
        return importlib.import_module(module).app

    runner.install_from_fab = unpack
    runner.get_load_client_app_fn = loader


def main(module: str = "fedelta.client.joins.app") -> None:
    """Run one task, at the pace that the institution allows.

    Args:
        module: where the client app is.
    """
    os.nice(int(os.environ.get("FEDELTA_NICE", "0")))
    from flwr.supernode.cli.flwr_clientapp import flwr_clientapp

    install(importlib.import_module(RUNNER), module)
    flwr_clientapp()


if __name__ == "__main__":
    main()
