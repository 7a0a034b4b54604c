"""`flwr-serverapp` as this host runs it: our installed server app, whatever the bundle.

SuperExec starts a run's server app as ``flwr-serverapp``; `fedelta host up` puts a
launcher of this module before Flower's command. Whoever reaches the control API on
loopback can still start a run, but no code of theirs is loaded.
"""

import importlib
from typing import Any

from ...protocols import telemetry  # noqa: F401  before flwr

RUNNER = "flwr.superlink.runtime.run_serverapp"


def install(runner: Any, module: str) -> None:
    """Have Flower's runner run our app and load nothing.

    Args:
        runner: Flower's module `RUNNER`.
        module: where our `app` is.
    """
    original = runner.run_

    def ours(*, grid: Any, context: Any, **bundle: Any) -> Any:
        app = importlib.import_module(module).app
        where = bundle["server_app_dir"]
        return original(grid, context, where, loaded_server_app=app)

    runner.run_ = ours


def main(module: str = "fedelta.server.hosts.app") -> None:
    """Run one task.

    Args:
        module: where the server app is.
    """
    from flwr.superlink.cli.flwr_serverapp import flwr_serverapp

    install(importlib.import_module(RUNNER), module)
    flwr_serverapp()


if __name__ == "__main__":
    main()
