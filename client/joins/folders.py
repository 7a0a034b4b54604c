"""An institution's folder: what is where."""

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

from ...protocols.errors import ConfigError
from ..tables import SUFFIXES
from . import tables
from .policies import Policy

POLICY = "join.toml"


@dataclass(frozen=True, slots=True)
class Invitation:
    """What the coordinator sent back: nothing in it is secret.

    Attributes:
        federation: its name.
        name: what this institution is called in it.
        server: host and port for the node.
        status: host and port of the status service.
        authority: the federation's CA certificate (PEM).
        certificate: this institution's, over its own key (PEM).
    """

    federation: str
    name: str
    server: str
    status: str
    authority: str
    certificate: str


@dataclass(frozen=True)
class ServiceFolder:
    """Paths in a folder that processes of ours and Flower's run in.

    Attributes:
        root: the folder.
        file: what is there once it is made.
        owner: whose it is.
        command: `fedelta ... init` makes it.
    """

    file: ClassVar[str]
    owner: ClassVar[str]
    command: ClassVar[str]

    root: Path

    @classmethod
    def open(cls, root: Path) -> Self:
        """An existing folder.

        Raises:
            ConfigError: its command did not make it.
        """
        folder = cls(Path(root).absolute())
        if not (folder.root / cls.file).exists():
            raise ConfigError(
                f"{root} is no {cls.owner}'s folder: "
                f"`fedelta {cls.command} init {root}`"
            )
        return folder

    @property
    def state(self) -> Path:
        """What is kept between rounds, and what is up."""
        return self.root / "state"

    @property
    def logs(self) -> Path:
        """All logs."""
        return self.root / "logs"

    @property
    def flower(self) -> Path:
        """Flower's home here: FLWR_HOME."""
        return self.root / "flower"


@dataclass(frozen=True)
class JoinFolder(ServiceFolder):
    """Paths in an institution's folder."""

    file, owner, command = POLICY, "institution", "join"

    @cached_property
    def policy(self) -> Policy:
        """join.toml, read once. Paths in it are from its own folder on.

        Raises:
            ConfigError: an unknown key or a wrong value.
        """
        found = tables.read(self.root / POLICY, Policy)
        data = replace(found.data, file=self._placed(found.data.file))
        model = replace(found.model, folder=self._placed(found.model.folder))
        return replace(found, data=data, model=model)

    def _placed(self, name: str) -> str:
        """A path as any folder finds it; names of other things as they are."""
        here = self.root / name
        is_path = Path(name).suffix.lower() in SUFFIXES or here.exists()
        return str(here) if name and is_path else name

    @cached_property
    def invitation(self) -> Invitation:
        """What the coordinator sent.

        Raises:
            ConfigError: nothing came yet, or it is no invitation.
        """
        path = self.root / "invitation.json"
        if not path.exists():
            raise ConfigError(
                f"no invitation is here yet: send {self.public} to the coordinator, "
                f"then `fedelta join init {self.root} --invitation ANSWER`"
            )
        return read_invitation(path)

    @property
    def private(self) -> Path:
        """The node's private key."""
        return self.root / "node.key"

    @property
    def public(self) -> Path:
        """The node's public key: what the coordinator gets."""
        return self.root / "node.pub"

    @property
    def signing(self) -> Path:
        """The private key that signs adverts of masked rounds."""
        return self.root / "signing.key"

    @property
    def peers(self) -> Path:
        """The other institutions' signing keys, as pinned here."""
        return self.root / "peers.json"

    @property
    def authority(self) -> Path:
        """The federation's CA certificate."""
        return self.root / "ca.pem"

    @property
    def models(self) -> Path:
        """Released models."""
        return self.root / "models"


def read_invitation(path: Path) -> Invitation:
    """Read an invitation's file.

    Raises:
        ConfigError: it cannot be read or is none.
    """
    try:
        given = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: is no invitation ({error})") from error
    if not isinstance(given, dict):
        raise ConfigError(f"{path}: is no invitation")
    return tables.parse(given, Invitation, str(path))
