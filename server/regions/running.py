"""`fedelta region up`: a host's processes, the node for the way up, and what they need.

Questions from above lie in the spool. Where one waits and no server app works on its
run, one is started: a run of Flower's on the region's own SuperLink.
"""

import logging
import threading
import time
from collections.abc import Callable

from ...client.joins import nodes
from ...client.joins.processes import Supervisor
from ...client.joins.runtimes import UP, held, note, stopping, told
from ...client.spools import Spool, spools
from ...protocols.errors import FedeltaError
from ..holders import holder
from ..hosts import controls, hosting, launches, layouts, services
from ..runs import config_from_json
from .folders import RegionFolder

LOG = logging.getLogger("fedelta.region")
PAUSE = 0.3
PATIENCE = 60.0
"""Seconds that a started server app has to take its run's folder."""


def up(folder: RegionFolder, tell: Callable[[str], None]) -> None:
    """Start everything and keep it alive until SIGTERM or Ctrl-C.

    Args:
        folder: the region's.
        tell: gets lines for people; they are in logs/region.log as well.

    Raises:
        ConfigError: no invitation, something is not installed, or it is up already.
        FedeltaError: a process does not start; the message says what it wrote last.
    """
    host, above = folder.host, folder.above
    node = nodes.node(above, nodes.port_of(above))
    with (
        held(host.state),
        told(host.logs / "region.log", tell) as say,
        stopping() as stop,
    ):
        layouts.write_derived(host)
        hosting.write_launchers(host, "fedelta.server.regions.tasks")
        nodes.write_launchers(above, "fedelta.client.relay")
        supervisor = Supervisor(
            [*services.services(host), node],
            host.logs,
            say,
            lambda running: note(host.state / UP, running),
        )
        starting = Starting(folder, say)
        try:
            supervisor.start()
            members = controls.register(host)
            say(f"{len(members)} members are registered; nodes may join")
            say(f"{above.invitation.name} joins {above.invitation.server}")
            starting.start()
            supervisor.watch(stop)
        except TimeoutError as error:
            raise FedeltaError(str(error)) from error
        finally:
            say("ending")
            starting.stop()
            supervisor.end()


class Starting:
    """Starts a server app for each run of which something is asked.

    Args:
        folder: the region's.
        tell: gets lines for people.
    """

    def __init__(self, folder: RegionFolder, tell: Callable[[str], None]) -> None:
        self._folder = folder
        self._tell = tell
        self._stopped = threading.Event()
        self._since: dict[str, float] = {}
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(PAUSE):
            for spool in spools(self._folder.spool):
                try:
                    self._look(spool)
                except (FedeltaError, OSError) as error:
                    self._tell(f"a run's server could not be started: {error}")

    def _look(self, spool: Spool) -> None:
        if next(spool.open(), None) is None:
            return
        config = config_from_json(spool.config)
        out = self._folder.host.root / config.run.out
        name = str(out)
        if holder(out):
            self._since.pop(name, None)  # it works; if it dies, start it at once
            return
        if time.monotonic() - self._since.get(name, -PATIENCE) < PATIENCE:
            return
        self._since[name] = time.monotonic()
        number = launches.start(self._folder.host, config)
        self._tell(f"asked from above: run {number} is started in {out}")
