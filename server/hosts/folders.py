"""A coordinator's folder: what is where, and its settings."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ...client.joins import tables
from ...client.joins.folders import ServiceFolder

SETTINGS = "host.toml"


@dataclass(frozen=True, slots=True)
class Host:
    """[host]: what institutions see.

    Attributes:
        name: the federation's name.
        names: host names or addresses of this machine, the first for invitations.
        listen: the address that the proxy and the status service listen on.
        port: the node-facing HTTPS port (the proxy).
        status_port: the status service's port (gRPC).
    """

    name: str
    names: tuple[str, ...]
    listen: str = "0.0.0.0"  # noqa: S104  institutions come from outside
    port: int = 9443
    status_port: int = 9444


@dataclass(frozen=True, slots=True)
class Inside:
    """[inside]: what stays on this machine.

    Attributes:
        superlink_port: Flower's control, runtime and node API, on 127.0.0.1 alone.
        metrics_port: /metrics for Prometheus; 0: none.
        metrics_listen: the address for that; it asks nobody who they are.
    """

    superlink_port: int = 9391
    metrics_port: int = 9445
    metrics_listen: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Limits:
    """[limits]: what the proxy allows one address.

    Attributes:
        body_mebibytes: largest request; Flower sends chunks of 5.
        requests_per_second: on average.
        burst: requests above that for a moment.
        connections: at a time.
    """

    body_mebibytes: int = 8
    requests_per_second: int = 50
    burst: int = 200
    connections: int = 32


@dataclass(frozen=True, slots=True)
class Waits:
    """[waits]: for how long a run waits for nodes that are not there.

    Attributes:
        settled_seconds: at its start, once a quorum is there, without another arrival.
        gone_seconds: in a round, after SuperLink has said that a node is away (a minute
            or so after it last heard of it). Who is back sooner is asked again.
    """

    settled_seconds: float = 20.0
    gone_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Settings:
    """host.toml."""

    host: Host
    inside: Inside = field(default_factory=Inside)
    limits: Limits = field(default_factory=Limits)
    waits: Waits = field(default_factory=Waits)


@dataclass(frozen=True)
class HostFolder(ServiceFolder):
    """Paths in a coordinator's folder."""

    file, owner, command = SETTINGS, "host", "host"

    @cached_property
    def settings(self) -> Settings:
        """host.toml, read once.

        Raises:
            ConfigError: an unknown key or a wrong value.
        """
        return tables.read(self.root / SETTINGS, Settings)

    @property
    def keys(self) -> Path:
        """The CA, the server's key and certificate, the SuperExec secret."""
        return self.root / "keys"

    @property
    def authority(self) -> Path:
        """The CA's certificate."""
        return self.keys / "ca.pem"

    @property
    def secret(self) -> Path:
        """What SuperExec proves itself to SuperLink with."""
        return self.keys / "superexec.secret"

    @property
    def roster(self) -> Path:
        """Who is admitted."""
        return self.root / "roster.toml"

    @property
    def members(self) -> Path:
        """Public keys and invitations, by name."""
        return self.root / "members"

    @property
    def app(self) -> Path:
        """The bundle that Flower hands out: configuration only."""
        return self.root / "app"

    @property
    def runs(self) -> Path:
        """Run folders."""
        return self.root / "runs"

    @property
    def proxy(self) -> Path:
        """The proxy's configuration."""
        return self.root / "nginx.conf"

    @property
    def admitted(self) -> Path:
        """The keys that the proxy lets through."""
        return self.state / "admitted.map"

    @property
    def superlink(self) -> str:
        """SuperLink's address."""
        return f"127.0.0.1:{self.settings.inside.superlink_port}"
