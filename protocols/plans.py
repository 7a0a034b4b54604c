"""What a round asks of one client, agreed in one frozen value."""

import json
import re
from dataclasses import asdict, dataclass, fields
from typing import Any

from .errors import PayloadError

PROTOCOL = 2
RUN = re.compile(r"[0-9a-f]{16}")
"""A run's id: it names a folder at each client, so it may be nothing else."""


@dataclass(frozen=True, slots=True)
class RoundPlan:
    """What the server asks of one client in one round.

    Attributes:
        run: our own run id (16 hex digits of the configuration's digest).
        round: counted from 1.
        client: the client's roster name.
        base: digest of the model version that training starts from.
        layout: fingerprint of the reply's layout.
        version: number of updates folded into that model version.
        updates: digests of the updates that travel with this plan, oldest first;
            the client folds them one by one to reach `version`. With a snapshot, of
            all updates that it holds.
        recipe: the merge, as text.
        space: the space that it merges in.
        wire: format of the reply.
        feedback: whether the client keeps what the format took away.
        before: where the recipe's transform is applied, "client" or "server".
        accepted: the last round of which this client's reply was accepted; 0: none.
        snapshot: digest of the snapshot of `version` that travels instead of updates;
            empty: none.
        protocol: version of this protocol.

    Example:
        >>> plan = RoundPlan("00ff" * 4, 1, "a", "b" * 64, "c" * 64, 0, (),
        ...                  "fedavg()", "product", "sign256", True, "server")
        >>> RoundPlan.from_json(plan.to_json()) == plan
        True
    """

    run: str
    round: int
    client: str
    base: str
    layout: str
    version: int
    updates: tuple[str, ...]
    recipe: str
    space: str
    wire: str
    feedback: bool
    before: str
    accepted: int = 0
    snapshot: str = ""
    protocol: int = PROTOCOL

    def to_json(self) -> str:
        """Canonical text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @property
    def travelling(self) -> tuple[str, ...]:
        """Digests of what travels with the plan."""
        return (self.snapshot,) if self.snapshot else self.updates

    @classmethod
    def from_json(cls, text: str) -> "RoundPlan":
        """Read it back.

        Raises:
            PayloadError: not a plan, one of another protocol version, or of a run
                whose name would lead out of its folder.
        """
        try:
            given: dict[str, Any] = json.loads(text)
            if given["protocol"] != PROTOCOL:
                raise PayloadError(
                    f"the server speaks protocol {given['protocol']}, "
                    f"this client {PROTOCOL}: install the same fedelta version"
                )
            if given.keys() != {one.name for one in fields(cls)}:
                raise PayloadError(
                    f"the plan has other fields than protocol {PROTOCOL}"
                )
            if not RUN.fullmatch(given["run"]):
                raise PayloadError("the plan names no run: its id is 16 hex digits")
            return cls(**given | {"updates": tuple(given["updates"])})
        except (ValueError, TypeError, KeyError) as error:
            raise PayloadError(f"not a round plan: {error!r}") from error
