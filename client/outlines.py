"""A run's model as shapes alone: no weight is read, none is held.

What a reply and an update will look like, what a training step keeps in memory and how
much it computes follow from the model's own code, run on tensors without content.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..protocols.errors import ConfigError
from ..protocols.settings import Config, Model
from ..protocols.vectors import Layout
from . import layouts, loading
from .tracings import Step, between, tally

if TYPE_CHECKING:
    import torch

CAUSAL = "causal-lm"
_HEAD = "classifier.weight"


@dataclass(frozen=True, slots=True)
class Outline:
    """A model without content.

    Attributes:
        config: the run's.
        body: its modules, on tensors without content.
        classes: how many classes or domains there are.
        targets: [out, in] of the layers that adapters go into, by name.
        dense: shapes of what is trained whole.
        mode: in which tensors have no content.
        known: by rows, tokens and whether they train, what they were found to take.
    """

    config: Config
    body: "torch.nn.Module"
    classes: int
    targets: Mapping[str, tuple[int, int]]
    dense: Mapping[str, tuple[int, ...]]
    mode: Any = field(repr=False)
    known: dict[tuple[int, int, bool], Step] = field(default_factory=dict, repr=False)

    @property
    def parameters(self) -> int:
        """How many numbers the body has."""
        return sum(one.numel() for one in self.body.parameters())

    @property
    def touched(self) -> int:
        """How many numbers updates change: each has a float32 master."""
        whole = Layout.of(self.dense).size
        return whole + sum(wide * deep for wide, deep in self.targets.values())

    def tables(self) -> dict[str, int]:
        """The rows of every table of embeddings that is trained whole, by name."""
        from torch import nn

        found = {}
        for name, module in self.body.named_modules():
            if isinstance(module, nn.Embedding) and f"{name}.weight" in self.dense:
                found[f"{name}.weight"] = module.num_embeddings
        return found

    def trained(self, config: Config) -> int:
        """How many numbers a client trains."""
        space, rank = config.lora.space, config.lora.rank
        pairs = sum(wide + deep for wide, deep in self.targets.values())
        if space == layouts.FROZEN:
            pairs = sum(wide for wide, _ in self.targets.values())
        elif space == layouts.CORE:
            pairs = rank * len(self.targets)
        return Layout.of(self.dense).size + rank * pairs

    def reply(self, config: Config) -> Layout:
        """The tensors of a reply."""
        return layouts.reply(self.body, self.targets, self.dense, config)

    def update(self) -> Layout:
        """The tensors of a merged update."""
        lora, highest = self.config.lora, self.config.highest_rank
        more = layouts.controls(self.targets, self.dense, self.config)
        return layouts.update(self.targets, self.dense, lora, highest, more)

    def training(self, rows: int, tokens: int) -> Step:
        """Forward and back over rows of so many tokens, with adapters."""
        return self._step(rows, tokens, train=True)

    def judging(self, rows: int, tokens: int) -> Step:
        """Forward alone."""
        return self._step(rows, tokens, train=False)

    def _step(self, rows: int, tokens: int, *, train: bool) -> Step:
        sized = (rows, tokens, train)
        if sized not in self.known:
            alike = {
                length: step
                for (count, length, trains), step in self.known.items()
                if (count, trains) == (rows, train)
            }
            found = between(alike, tokens) or self._traced(rows, tokens, train=train)
            self.known[sized] = found
        return self.known[sized]

    def _traced(self, rows: int, tokens: int, *, train: bool) -> Step:
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        held = [*self.body.parameters(), *self.body.buffers()]
        bfloat16 = self.config.model.dtype == "bfloat16"
        counter = FlopCounterMode(display=False)
        with self.mode, torch.set_grad_enabled(train), _adapted(self, train) as more:
            counted = tally([*held, *more])
            low = torch.autocast("cpu", torch.bfloat16, enabled=bfloat16)
            with counter, counted:
                with low:
                    loss = self._loss(rows, tokens)
                if train:
                    torch.autograd.backward(loss)
        return Step(counted.peak, int(counter.get_total_flops()))

    def _loss(self, rows: int, tokens: int) -> "torch.Tensor":
        import torch
        from torch.nn import functional

        ids = torch.zeros((rows, tokens), dtype=torch.long)
        body: Any = self.body
        if self.config.model.task == CAUSAL:
            scores = body(input_ids=ids, use_cache=False).logits
            scores = scores.reshape(rows * tokens, -1)
            wanted = torch.zeros(rows * tokens, dtype=torch.long)
            return functional.cross_entropy(scores.float(), wanted, reduction="sum")
        found = body(input_ids=ids, attention_mask=torch.ones_like(ids))
        if "logits" in found:
            return found.logits.float().sum()  # type: ignore[no-any-return]
        return found.last_hidden_state.mean(1).sum()  # type: ignore[no-any-return]


def outline(config: Config, classes: int) -> Outline:
    """The outline of a run's model.

    Args:
        config: the run's.
        classes: how many classes or domains it has.

    Raises:
        ConfigError: the model's description cannot be read, or has no layer that fits
            the targets.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    mode = FakeTensorMode()
    body = _built(config.model, classes, mode)
    full = config.train.mode == "full"
    dense: dict[str, tuple[int, ...]] = {}
    if config.model.task != CAUSAL and config.model.head == "linear":
        inside = f"{body.base_model_prefix}."
        named = body.named_parameters()
        dense = {n: tuple(p.shape) for n, p in named if not n.startswith(inside)}
    elif config.model.task != CAUSAL:
        wide: Any = getattr(body.config, "hidden_size", 0)
        dense = {_HEAD: (classes, int(wide))}
    if full:
        dense |= {name: tuple(one.shape) for name, one in body.named_parameters()}
    targets = {} if full else layouts.targets(body, config.lora)
    if config.model.dtype == "bfloat16":
        with mode, torch.no_grad():
            for name, one in body.named_parameters():
                if name not in dense:
                    one.data = one.data.to(torch.bfloat16)
    return Outline(config, body, classes, targets, dense, mode)


def _built(model: Model, classes: int, mode: Any) -> Any:
    import transformers

    where = loading.place(model)
    family: Any = transformers.AutoModel
    options: dict[str, Any] = {}
    if model.task == CAUSAL:
        family = transformers.AutoModelForCausalLM
    elif model.head == "linear":
        family = transformers.AutoModelForSequenceClassification
        options = {"num_labels": classes}
    try:
        with loading.quiet():
            described = transformers.AutoConfig.from_pretrained(where, **options)
            with mode:
                body = family.from_config(described)
    except Exception as error:
        raise ConfigError(
            f"model.id = {model.id!r}: its description cannot be read "
            f"({type(error).__name__}: {error})"
        ) from error
    return body.eval().requires_grad_(False)  # noqa: FBT003


@contextmanager
def _adapted(outline: Outline, train: bool) -> Iterator[Sequence["torch.Tensor"]]:  # noqa: FBT001
    """Factors beside the targets, or every weight trainable; taken off afterwards."""
    import torch
    from torch.nn import functional

    body, rank = outline.body, outline.config.highest_rank
    if outline.config.train.mode == "full":
        body.requires_grad_(train)
        yield ()
        body.requires_grad_(False)  # noqa: FBT003
        for one in body.parameters():
            one.grad = None
        return
    made: list[Any] = []
    handles = []
    for name, (wide, deep) in outline.targets.items() if train else ():
        a = torch.zeros((rank, deep), requires_grad=True)
        b = torch.zeros((wide, rank), requires_grad=True)
        made += [a, b]

        def added(_: Any, inputs: Any, out: Any, a: Any = a, b: Any = b) -> Any:
            low = functional.linear(inputs[0].float(), a)
            return out + functional.linear(low, b).to(out.dtype)

        handles.append(body.get_submodule(name).register_forward_hook(added))
    try:
        yield made
    finally:
        for handle in handles:
            handle.remove()
