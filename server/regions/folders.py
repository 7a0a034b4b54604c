"""A region's folder: a host's, with an institution's in it for the way up."""

from dataclasses import dataclass
from pathlib import Path

from ...client.joins import layouts as institutions
from ...client.joins.folders import JoinFolder
from ...client.relay import SPOOL
from ...protocols.errors import ConfigError
from ..hosts import layouts
from ..hosts.folders import HostFolder

ABOVE = "above"


@dataclass(frozen=True, slots=True)
class RegionFolder:
    """Paths in a region's folder.

    Attributes:
        host: what it is to those below.
        above: what it is to the server above.
    """

    host: HostFolder
    above: JoinFolder

    @classmethod
    def open(cls, root: Path) -> "RegionFolder":
        """An existing folder.

        Raises:
            ConfigError: `fedelta region init` did not make it.
        """
        try:
            return cls(HostFolder.open(root), JoinFolder.open(Path(root) / ABOVE))
        except ConfigError:
            raise ConfigError(
                f"{root} is no region's folder: `fedelta region init {root}`"
            ) from None

    @classmethod
    def create(
        cls, root: Path, name: str, names: list[str], ports: layouts.Ports
    ) -> "RegionFolder":
        """Make a region's folder.

        Args:
            root: the folder, new or empty.
            name: the region's.
            names: host names or addresses that those below reach this machine by.
            ports: where it listens.

        Raises:
            ConfigError: there is something already.
        """
        host = layouts.create(root, name, names, ports)
        return cls(host, institutions.create(host.root / ABOVE, name, ""))

    @property
    def spool(self) -> Path:
        """What is asked from above, until it is answered."""
        return self.host.root / SPOOL
