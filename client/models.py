"""Base models in memory: which weights a run changes, and bringing them up to date.

A process keeps one base for all the clients that run in it. Only the weights that
updates touch (the LoRA targets and the head) have a second copy, the bytes to go
back to.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..aggregators import factors
from ..protocols import digests, seeds
from ..protocols.errors import ConfigError
from ..protocols.settings import Config, Lora
from ..protocols.vectors import Floats, Layout, Pair
from . import loading

if TYPE_CHECKING:
    import torch

    from .heads import Network

ALL_LINEAR = "all-linear"


def run_key(config: Config) -> int:
    """What a run's random starts are keyed by: its seed alone.

    So runs that differ in their merge or their wire start alike, and can be compared.
    """
    return seeds.key("run", config.run.seed)


def load_base(config: Config, labels: Iterable[str]) -> "Base":
    """Read the base model of a run.

    Args:
        config: which model, which head, which LoRA targets.
        labels: the classes' names.

    Raises:
        ConfigError: the model cannot be read, or has no layer that fits the targets.
    """
    import torch

    from .heads import Cosine, Linear

    names = tuple(labels)
    torch.set_num_threads(1)  # other thread counts give other bits
    body, tokenizer = loading.load(config.model, len(names))
    described = digests.of_bytes(loading.describe(config.model, names))
    if config.model.head == "linear":
        linear = Linear(body)
        loading.draw(body, linear.head)
        return Base(linear, tokenizer, config, digests.chain(_digest(body), described))
    digest = digests.chain(_digest(body), described)
    titles = tokenise(tokenizer, names, config.train.max_length)
    return Base(Cosine(body, titles), tokenizer, config, digest)


def tokenise(
    tokenizer: Any, texts: Iterable[str], longest: int
) -> "dict[str, torch.Tensor]":
    """Texts as a padded batch, at most `longest` tokens each."""
    batch = tokenizer(
        list(texts),
        padding=True,
        truncation=True,
        max_length=longest,
        return_tensors="pt",
    )
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def _digest(body: "torch.nn.Module") -> str:
    state = body.state_dict()
    return digests.of_tensors({name: state[name].numpy() for name in state})


class Base:
    """A base model, at some version of it.

    Args:
        network: body and head.
        tokenizer: the model's.
        config: the run's.
        digest: what names this base model before any update, on every machine.

    Attributes:
        applied: digests of the updates that are folded in, oldest first.
    """

    def __init__(
        self, network: "Network", tokenizer: Any, config: Config, digest: str
    ) -> None:
        self.network = network
        self.tokenizer = tokenizer
        self.digest = digest
        self.applied: tuple[str, ...] = ()
        self._targets = _targets(network.body, config.lora)
        self._weights = self._own(config)
        self._rank_down = config.lora.rank_down or 4 * config.lora.rank
        self._origin = {name: value.copy() for name, value in self._weights.items()}

    def _own(self, config: Config) -> dict[str, Floats]:
        """Views on the parameters that updates touch, out of the file's mapping."""
        touched = {pair.weight for pair in self.pairs(config)}
        named = {n: p for n, p in self.network.body.named_parameters() if n in touched}
        weights: dict[str, Floats] = {}
        for name, parameter in (named | self.network.head).items():
            parameter.data = parameter.data.clone()
            weights[name] = parameter.data.numpy()
        return weights

    @property
    def version(self) -> str:
        """Digest of the version: the base's, chained with every update's."""
        digest = self.digest
        for update in self.applied:
            digest = digests.chain(digest, update)
        return digest

    def pairs(self, config: Config) -> tuple[Pair, ...]:
        """The low-rank pairs of a reply, one a target module, in name order."""
        lora = config.lora
        divisor = lora.rank if lora.scaling == "lora" else lora.rank**0.5
        return tuple(
            Pair(
                f"{module}.weight",
                f"{module}.lora_A.weight",
                f"{module}.lora_B.weight",
                lora.alpha / divisor,
            )
            for module in sorted(self._targets)
        )

    def layout(self, config: Config) -> Layout:
        """The tensors of a reply: A and B of every target, and the head's."""
        shapes: dict[str, tuple[int, ...]] = {}
        rank = config.lora.rank
        for module, (wide, deep) in self._targets.items():
            shapes[f"{module}.lora_A.weight"] = (rank, deep)
            shapes[f"{module}.lora_B.weight"] = (wide, rank)
        for name, parameter in self.network.head.items():
            shapes[name] = tuple(parameter.shape)
        return Layout.of(shapes)

    def update_layout(self) -> Layout:
        """The tensors of a merged update: pairs at the rank of the way down."""
        shapes = {n: tuple(p.shape) for n, p in self.network.head.items()}
        for module, (wide, deep) in self._targets.items():
            rank = min(self._rank_down, wide, deep)
            shapes[f"{module}.lora_A.weight"] = (rank, deep)
            shapes[f"{module}.lora_B.weight"] = (wide, rank)
        return Layout.of(shapes)

    def start(self, config: Config, run_key: int, round: int) -> dict[str, Floats]:  # noqa: A002
        """Where every client's A starts: Kaiming-uniform, alike for all of them.

        Args:
            config: whether A is drawn once a "run" or anew each "round".
            run_key: `run_key(config)`.
            round: counted from 1.

        Returns:
            A0 by name, [r, in] each; B starts at zero.
        """
        when = round if config.lora.init == "round" else 0
        drawn: dict[str, Floats] = {}
        for module, (_, deep) in self._targets.items():
            key = seeds.key("lora", run_key, module, when)
            flat = seeds.uniform(key, 0, config.lora.rank * deep)
            bound = deep**-0.5
            values = ((2.0 * flat - 1.0) * bound).astype(np.float32)
            drawn[f"{module}.lora_A.weight"] = values.reshape(config.lora.rank, deep)
        return drawn

    def weights(self) -> dict[str, Floats]:
        """The weights that updates touch, float32, as they are now: live views."""
        return dict(self._weights)

    def tensors(self) -> dict[str, Floats]:
        """Every tensor of body and head as it is now: live views."""
        state = self.network.body.state_dict()
        return {name: state[name].numpy() for name in state} | self._weights

    def reset(self) -> None:
        """Back to the base's own bytes."""
        for name, value in self._origin.items():
            np.copyto(self._weights[name], value)
        self.applied = ()

    def fold(self, update: Mapping[str, Floats], digest: str = "") -> None:
        """Add an update to the weights.

        Args:
            update: factors by module (scaling 1) and dense changes by name.
            digest: the update's, to name the version that results.
        """
        weights = dict(self._weights)
        factors.fold(weights, update)
        for name, value in weights.items():
            if value is not self._weights[name]:
                np.copyto(self._weights[name], value)
        self.applied += (digest,)

    def batch(self, texts: Iterable[str], longest: int) -> "dict[str, torch.Tensor]":
        """Texts as a padded batch."""
        return tokenise(self.tokenizer, texts, longest)


def _targets(body: "torch.nn.Module", lora: Lora) -> dict[str, tuple[int, int]]:
    """The [out, in] of every linear layer that an adapter goes into, by name."""
    from torch import nn

    linear = {
        name: (module.out_features, module.in_features)
        for name, module in body.named_modules()
        if isinstance(module, nn.Linear) and _inside(name, body)
    }
    if lora.targets == (ALL_LINEAR,):
        return linear
    wanted = tuple(lora.targets)
    found = {
        name: shape
        for name, shape in linear.items()
        if any(name == end or name.endswith(f".{end}") for end in wanted)
    }
    if not found:
        ends = sorted({name.rpartition(".")[2] for name in linear})
        raise ConfigError(
            f"lora.targets = {list(wanted)}: this model has no such linear layers; "
            f'it has {", ".join(ends)}, or ["all-linear"]'
        )
    return found


def _inside(name: str, body: "torch.nn.Module") -> bool:
    """Whether a layer takes part in the output: neither a head nor a pooler."""
    head = hasattr(body, "classifier") or hasattr(body, "score")
    prefix = f"{body.base_model_prefix}." if head else ""
    return name.startswith(prefix) and (head or "pooler" not in name.split("."))
