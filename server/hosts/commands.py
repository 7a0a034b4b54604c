"""`fedelta host ...`: the coordinator's commands."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from .folders import HostFolder

app = typer.Typer(help="Host a federation of institutions.", no_args_is_help=True)

Root = Annotated[
    Path | None,
    typer.Argument(metavar="DIR", help="The host's folder; if none, this one."),
]
At = Annotated[
    Path | None,
    typer.Option("--dir", metavar="DIR", help="The host's folder, as an option."),
]

Addresses = Annotated[
    list[str] | None,
    typer.Option(help="A host name or address of this machine; may be repeated."),
]
Nodes = Annotated[int, typer.Option(help="HTTPS for nodes.")]
Status = Annotated[int, typer.Option(help="gRPC for status.")]
Inner = Annotated[int, typer.Option(help="Flower, on 127.0.0.1.")]
Metrics = Annotated[int, typer.Option(help="/metrics, on 127.0.0.1; 0: none.")]


def _named(root: Path | None, at: Path | None) -> Path:
    """The folder, whichever way it was given."""
    from ...protocols.errors import ConfigError

    if root is not None and at is not None and root.absolute() != at.absolute():
        raise ConfigError(f"--dir {at}, and {root}: give the host's folder once")
    return root or at or Path()


def _folder(root: Path | None, at: Path | None) -> "HostFolder":
    """An existing folder; imported here so that `--help` starts at once."""
    from .folders import HostFolder

    return HostFolder.open(_named(root, at))


@app.command()
def init(
    root: Root = None,
    *,
    at: At = None,
    name: Annotated[str, typer.Option(help="The federation's name.")] = "federation",
    address: Addresses = None,
    port: Nodes = 9443,
    status_port: Status = 9444,
    superlink_port: Inner = 9391,
    metrics_port: Metrics = 9445,
) -> None:
    """Make keys, certificates, roster and configuration."""
    from .layouts import Ports, create

    root, names = _named(root, at), address or ["localhost"]
    ports = Ports(port, status_port, superlink_port, metrics_port)
    folder = create(root, name, names, ports)
    typer.echo(
        f"{folder.root} is made: look at host.toml, then `fedelta host up {root}`"
    )
    typer.echo(
        f"institutions reach it at {names[0]}:{port} and {names[0]}:{status_port}"
    )


@app.command()
def up(root: Root = None, *, at: At = None) -> None:
    """Run SuperLink, SuperExec, the proxy and the status service until told to stop."""
    from .hosting import up as run

    run(_folder(root, at), typer.echo)


@app.command()
def admit(
    key: Annotated[Path, typer.Argument(metavar="KEY.pub", help="What they sent.")],
    root: Root = None,
    *,
    name: Annotated[str, typer.Option(help="What they are called from now on.")],
    at: At = None,
) -> None:
    """Let an institution in, and write the invitation to send back."""
    from ...client.joins.keys import fingerprint
    from .admissions import admit as run

    invitation = run(_folder(root, at), key, name)
    typer.echo(f"{name} is admitted with {fingerprint(key.read_text())}")
    typer.echo(f"compare that with them by telephone, then send them {invitation}")


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Whom.")],
    root: Root = None,
    *,
    at: At = None,
) -> None:
    """Put an institution out, at once."""
    from .admissions import revoke as run

    run(_folder(root, at), name)
    typer.echo(f"{name} is out: its key opens nothing any more")


@app.command("run")
def start(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="The run.")],
    root: Root = None,
    *,
    at: At = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE")
    ] = None,
    detach: Annotated[bool, typer.Option(help="Do not wait for its end.")] = False,
) -> None:
    """Start a run, or go on with one that was interrupted."""
    from ..runs import load
    from ..views import view
    from . import launches

    folder = _folder(root, at)
    asked = launches.hosted(folder, load(config, overrides=override or []))
    number = launches.start(folder, asked)
    typer.echo(f"run {number} is started: {folder.root / asked.run.out}")
    if not detach:
        with view(quiet=False, errors=False) as seen:
            summary = launches.follow(folder, asked, number, seen)
        typer.echo(f"done: model {summary['model_digest']}")


@app.command()
def status(
    root: Root = None,
    *,
    at: At = None,
    run: Annotated[str, typer.Option(help="Which run; the newest without it.")] = "",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Stay, and tell what happens.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Stay, and keep the picture current.")
    ] = False,
) -> None:
    """Processes, members and the run: once, live, or with -f line by line."""
    from rich.console import Console

    from ...client.joins.reports import line_of
    from ...client.joins.runtimes import stopping
    from . import panels
    from .asking import status as asking

    console = Console()
    with asking(_folder(root, at)) as asked:
        panel = panels.Panel(asked, run)
        if watch:
            with stopping() as stop:
                panels.watch(panel, console, stop)
            return
        console.print(panel.picture())
        for event in asked.watch(run) if follow else ():
            typer.echo(line_of(event))


@app.command()
def renew(
    root: Root = None,
    *,
    at: At = None,
    members: Annotated[
        bool, typer.Option(help="Also write every member a fresh invitation.")
    ] = False,
) -> None:
    """Make the server's keys and certificates anew; what is up takes them at once."""
    from . import renewals

    folder = _folder(root, at)
    for line in renewals.renew(folder):
        typer.echo(line)
    for line in renewals.invite(folder) if members else ():
        typer.echo(line)
