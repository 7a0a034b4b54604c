"""A base model as far as merging goes: its layouts, its versions, and the masters.

`fedelta.client.models.Base` is one with the network that trains and judges; a server
that leaves judging to its clients needs no more than this, and so no torch.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ..protocols import digests
from ..protocols.settings import Config
from ..protocols.vectors import Floats, Layout, Pair
from . import layouts
from .layouts import Layers, Shapes
from .starts import Starts, run_key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .masters import Masters


class Trunk:
    """A base model, at some version of it.

    Args:
        digest: what names this base model before any update, on every machine.
        config: the run's.
        targets: [out, in] of the layers that adapters go into, by name.
        dense: shapes of what is trained whole.
        layers: the model, or the names of its linear layers' weights.

    Attributes:
        heads: names of the parameters that are always trained.
        own_heads: those of them that are the model's own.
        starts: where factors start.
        applied: digests of the updates that are folded in, oldest first.
    """

    heads: tuple[str, ...] = ()
    own_heads: tuple[str, ...] = ()

    def __init__(
        self,
        digest: str,
        config: Config,
        targets: Mapping[str, tuple[int, int]],
        dense: Shapes,
        layers: Layers,
    ) -> None:
        self.digest = digest
        self.applied: tuple[str, ...] = ()
        self.starts = Starts(targets, config.lora, run_key(config))
        self._shapes, self._layers = dict(dense), layers
        self._controls = layouts.controls(targets, dense, config)
        self._lora, self._own_rank = config.lora, config.highest_rank
        self._masters: Masters

    def hold(self, held: "Masters") -> None:
        """Take masters of what updates touch."""
        self._masters = held

    def _beside(self) -> dict[str, Floats]:
        """What updates touch beside the model's weights, as it is at first."""
        return layouts.zeros(self._controls) | self.starts.shared()

    @property
    def version(self) -> str:
        """Digest of the version: the base's, chained with every update's."""
        digest = self.digest
        for update in self.applied:
            digest = digests.chain(digest, update)
        return digest

    def pairs(self, config: Config) -> tuple[Pair, ...]:
        """The low-rank pairs of a reply, in name order: see `Starts.pairs`."""
        return self.starts.pairs(config)

    def layout(self, config: Config) -> Layout:
        """The tensors of a reply: see `layouts.reply`."""
        return layouts.reply(self._layers, self.starts.targets, self._shapes, config)

    def update_layout(self) -> Layout:
        """The tensors of a merged update: see `layouts.update`."""
        given = self.starts.targets, self._shapes, self._lora, self._own_rank
        return layouts.update(*given, self._controls)

    def start(self, config: Config, run_key: int, round: int) -> dict[str, Floats]:  # noqa: A002
        """Where a client's factors start.

        Args:
            config: as the client sees it.
            run_key: `run_key(config)`.
            round: counted from 1.

        Returns:
            A by name, [r, in] each: drawn alike for all clients, or what they share
            by now; B, [out, r], where it is drawn too. It starts at zero elsewhere.
        """
        starts = replace(self.starts, key=run_key)
        if config.lora.space == layouts.CORE:
            return starts.framed(round)
        drawn = starts.drawn(config.lora, round)
        if config.lora.space != layouts.SHARED:
            return drawn
        held, shared = self._masters.weights(), layouts.SHARED_NAME
        return {name: held[layouts.renamed(name, shared)].copy() for name in drawn}

    def weights(self) -> dict[str, Floats]:
        """The weights that updates touch, float32, as they are now: live views."""
        return self._masters.weights()

    def origin(self) -> Mapping[str, Floats]:
        """The base's own weights, of those that updates touch: not to be written to."""
        return self._masters.origin()

    def restore(
        self, words: "Mapping[str, NDArray[np.uint32]]", applied: tuple[str, ...]
    ) -> None:
        """To a version by its snapshot; `applied` are the updates that lead to it."""
        self._masters.restore(words)
        self.applied = applied

    def reset(self) -> None:
        """Back to the base's own bytes."""
        self._masters.reset()
        self.applied = ()

    def fold(self, update: Mapping[str, Floats], digest: str = "") -> None:
        """Add an update to the weights.

        Args:
            update: factors by module (scaling 1) and dense changes by name; factors
                that do not travel are filled in.
            digest: the update's, to name the version that results.
        """
        number = len(self.applied) + 1
        self._masters.fold(self.starts.completed(update, number))
        self.applied += (digest,)

    def settle(self) -> None:
        """Have what is computed with follow the weights that were written to."""
        self._masters.settle()
