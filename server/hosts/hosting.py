"""`fedelta host up`: all of a coordinator's processes, until told to stop."""

from collections.abc import Callable

from ...client.joins.processes import Supervisor
from ...client.joins.runtimes import UP, held, note, stopping, told, write_launcher
from ...protocols.errors import FedeltaError
from . import controls, layouts, services
from .folders import HostFolder


def up(folder: HostFolder, tell: Callable[[str], None]) -> None:
    """Start everything and keep it alive until SIGTERM or Ctrl-C.

    Args:
        folder: the host's.
        tell: gets lines for people; they are in logs/host.log as well.

    Raises:
        ConfigError: something is not installed, or the folder is up already.
        FedeltaError: a process does not start; the message says what it wrote last.
    """
    with (
        held(folder.state),
        told(folder.logs / "host.log", tell) as say,
        stopping() as stop,
    ):
        layouts.write_derived(folder)
        write_launchers(folder)
        supervisor = Supervisor(
            services.services(folder),
            folder.logs,
            say,
            lambda running: note(folder.state / UP, running),
        )
        try:
            supervisor.start()
            members = controls.register(folder)
            say(f"{len(members)} members are registered; nodes may join")
            supervisor.watch(stop)
        except TimeoutError as error:
            raise FedeltaError(str(error)) from error
        finally:
            say("ending")
            supervisor.end()


def write_launchers(
    folder: HostFolder, module: str = "fedelta.server.hosts.tasks"
) -> None:
    """Put our launcher before Flower's, which would load a bundle's code."""
    target = services.launchers(folder) / "flwr-serverapp"
    write_launcher(target, module, folder.logs / "server.log")
