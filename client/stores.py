"""What a client keeps on disk between rounds, each file whole or not there at all."""

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..protocols import digests
from ..protocols.disks import write
from ..protocols.errors import CheckpointError, StaleRoundError
from ..protocols.plans import RoundPlan
from ..protocols.vectors import Floats


class Kept:
    """Tensors that a client keeps of its replies, round by round, as one of a kind.

    What a round left counts once the server says that it accepted that round's reply;
    until then what the one before left stays. So a reply that was refused, late or lost
    leaves no trace, and a repeated round starts from the same tensors.

    Args:
        folder: the client's folder for one run.
        kind: what is kept.
        plan: whose run, client and layout they belong to.
        base: digest of the base model before any update, to which they belong too.
    """

    def __init__(self, folder: Path, kind: str, plan: RoundPlan, base: str) -> None:
        self._folder = folder / kind
        self._owner = {
            "run": plan.run,
            "client": plan.client,
            "base": base,
            "layout": plan.layout,
        }

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:04d}.safetensors"

    def keep(self, number: int, tensors: dict[str, Floats]) -> None:
        """Store what round `number` left."""
        said = self._owner | {"round": str(number)}
        write(self._path(number), save(tensors, said))

    def committed(self, accepted: int) -> dict[str, Floats]:
        """What round `accepted` left, the last one that was accepted.

        Returns:
            Tensors by name; none where nothing was accepted (0), where that round's
            file was lost, or where it belongs to another run, base or layout.

        Raises:
            CheckpointError: its file is damaged.
        """
        if not accepted:
            return {}
        for path in self._folder.glob("*.safetensors"):
            if path.name < self._path(accepted).name:
                path.unlink()
        path = self._path(accepted)
        if not path.exists():
            return {}
        try:
            with safe_open(path, "numpy") as file:
                said = file.metadata() or {}
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path} is damaged ({error}); delete it to go on without it"
            ) from error
        return found if said == self._owner | {"round": str(accepted)} else {}


class Feedback(Kept):
    """What the wire format took away from this client's replies: see `Kept`."""

    def __init__(self, folder: Path, plan: RoundPlan, base: str) -> None:
        super().__init__(folder, "feedback", plan, base)


class Updates:
    """The merged updates that a client has received, in order.

    Args:
        folder: the client's folder for one run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "updates"
        self._names = self._folder / "snapshot.json"

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:04d}.payload"

    def receive(self, plan: RoundPlan, arrived: list[bytes]) -> list[str]:
        """Store what travelled with a plan; digests of the whole chain, oldest first.

        Raises:
            StaleRoundError: what arrived is not what the plan says, or an earlier
                update is missing here.
        """
        if tuple(digests.of_bytes(data) for data in arrived) != plan.travelling:
            raise StaleRoundError("the updates are not those that the plan names")
        if plan.snapshot:
            self._restart(plan, arrived[0])
            return list(plan.updates)
        first = plan.version - len(arrived)
        if first < 0:
            raise StaleRoundError(f"{len(arrived)} updates for version {plan.version}")
        for number, data in enumerate(arrived, first + 1):
            write(self._path(number), data)
        known, _ = self.snapshot()
        later = range(len(known) + 1, first + 1)
        missing = [n for n in later if not self._path(n).exists()]
        if missing:
            raise StaleRoundError(
                f"updates {missing[0]} to {first} are missing here: send them again"
            )
        known = known[:first] + [digests.of_bytes(self.read(n)) for n in later]
        return known + list(plan.updates)

    def snapshot(self) -> tuple[list[str], bytes]:
        """The last snapshot: digests of the updates that it holds, and its bytes."""
        if not self._names.exists():
            return [], b""
        names = json.loads(self._names.read_text("utf-8"))
        data = (self._folder / f"{len(names):04d}.snapshot").read_bytes()
        return names, data

    def _restart(self, plan: RoundPlan, data: bytes) -> None:
        if len(plan.updates) != plan.version:
            raise StaleRoundError("the snapshot is of another version")
        write(self._folder / f"{plan.version:04d}.snapshot", data)
        write(self._names, json.dumps(plan.updates).encode())
        for path in self._folder.iterdir():
            if path.suffix != ".json" and path.name < f"{plan.version:04d}.snapshot":
                path.unlink()

    def read(self, number: int) -> bytes:
        """One update's bytes, counted from 1."""
        return self._path(number).read_bytes()


def carried(
    change: dict[str, Floats], residual: dict[str, Floats]
) -> dict[str, Floats]:
    """A change with what earlier replies still owe.

    Example:
        >>> carried({"w": np.float32([1, 2])}, {"w": np.float32([0.5, 0])})["w"]
        array([1.5, 2. ], dtype=float32)
    """
    return {
        name: np.add(value, residual[name]) if name in residual else value
        for name, value in change.items()
    }
