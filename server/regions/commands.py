"""`fedelta region ...`: the commands of an edge server."""

from pathlib import Path
from typing import Annotated

import typer

from ..hosts.commands import Addresses, Inner, Metrics, Nodes, Status

app = typer.Typer(
    help="Stand between a coordinator and the institutions of a region.",
    no_args_is_help=True,
)

Root = Annotated[Path, typer.Argument(metavar="DIR", help="The region's folder.")]


@app.command()
def init(  # noqa: PLR0913  one option a setting
    root: Root,
    *,
    name: Annotated[str, typer.Option(help="The region's name.")] = "region",
    address: Addresses = None,
    port: Nodes = 9443,
    status_port: Status = 9444,
    superlink_port: Inner = 9391,
    metrics_port: Metrics = 9445,
    invitation: Annotated[
        Path | None, typer.Option(help="The answer from above, once it is there.")
    ] = None,
) -> None:
    """Make a host's folder and a key for the way up; later, take the answer in."""
    from ...client.joins.keys import fingerprint
    from ...client.joins.layouts import accept
    from ..hosts.layouts import Ports
    from .folders import RegionFolder

    if invitation is not None:
        folder = RegionFolder.open(root)
        accept(folder.above, invitation)
        who = folder.above.invitation
        typer.echo(
            f"you are {who.name} in {who.federation}: `fedelta region up {root}`"
        )
        return
    names = address or ["localhost"]
    ports = Ports(port, status_port, superlink_port, metrics_port)
    folder = RegionFolder.create(root, name, names, ports)
    typer.echo(f"send {folder.above.public} to the server above, and nothing else")
    seen = fingerprint(folder.above.public.read_text())
    typer.echo(f"its fingerprint, to compare by telephone: {seen}")
    typer.echo(f"admit those below by `fedelta host admit KEY.pub {root} --name NAME`")


@app.command()
def up(root: Root) -> None:
    """Run the region's server and its node upwards until told to stop."""
    from .folders import RegionFolder
    from .running import up as run

    run(RegionFolder.open(root), typer.echo)
