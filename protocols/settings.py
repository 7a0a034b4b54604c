"""The tables of a run's configuration, as both sides read them.

Each class is one TOML table; a field is a key, its default the value of a key left
out, and the words beside it are what `fedelta init` and an error message say.
`fedelta.server.runs` reads files, presets and ``--set`` into a `Config`.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from .gates import Gate
from .personals import Personal
from .protections import Privacy
from .rounds import Round
from .sources import Client, Data, Model

__all__ = [
    "Client",
    "Config",
    "Data",
    "Eval",
    "Gate",
    "Journal",
    "Lora",
    "Merge",
    "Model",
    "Personal",
    "Privacy",
    "Round",
    "Run",
    "Train",
    "Wire",
]


@dataclass(frozen=True, slots=True)
class Run:
    """[run]: the experiment as a whole.

    Attributes:
        name: what the report calls it.
        seed: everything random follows from it.
        rounds: how many rounds.
        out: the run's folder.
        engine: "in-process": worker processes on this machine; "flower": Flower's
            own simulation runtime (Ray), on one machine or a cluster.
        tensorboard: also write the record as TensorBoard events, into the folder.
        export: what is written to the run's `model`: a PEFT "adapter", the "folded"
            model as a transformers folder, or "both" (the folded one in
            `model/folded`). "auto": the adapter, where the updates are factors.
    """

    name: str = "run"
    seed: int = 0
    rounds: int = 3
    out: str = "runs/run"
    engine: Literal["in-process", "flower"] = "in-process"
    tensorboard: bool = False
    export: Literal["auto", "adapter", "folded", "both"] = "auto"


@dataclass(frozen=True, slots=True)
class Train:
    """[train]: what a client does in a round.

    Attributes:
        mode: "lora": adapters; "full": every weight.
        steps: optimiser steps a round.
        phases: the steps of round 1, 2 and so on, the last number for all later rounds:
            long ones and few of them branch, train and merge; empty: `steps` in all.
        batch: examples a step (rows, where they are packed).
        micro_batch: of those, how many are computed at once; their gradients add up.
            0: all.
        checkpointing: keep fewer activations and compute them again: less memory,
            more time.
        packing: put several short texts of a causal LM into one row.
        learning_rate: peak.
        optimizer: "adamw" or "sgd".
        schedule: "constant", "linear" or "cosine" over the round.
        decay: how the peak falls from round to round: "none", "linear" or "cosine".
            What a one-bit format still owes at the end is then small.
        warmup: share of the steps that warm up.
        weight_decay: AdamW's.
        clip_norm: gradient norm bound; 0: none.
        max_length: tokens of a text that are read.
        prox_mu: FedProx's proximal weight; 0: none.
        scaffold: correct every gradient by SCAFFOLD's control variates, the client's
            and the federation's (Karimireddy et al. 2020, option II); needs "sgd",
            and `merge.recipe` "fedavg".
        trainer: who trains: empty: our own loop; "huggingface": the `Trainer` of
            transformers; or one that is installed under `fedelta.trainers`.
    """

    mode: Literal["lora", "full"] = "lora"
    steps: int = 8
    phases: tuple[int, ...] = ()
    batch: int = 16
    micro_batch: int = 0
    checkpointing: bool = False
    packing: bool = False
    learning_rate: float = 3e-3
    optimizer: Literal["adamw", "sgd"] = "adamw"
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    decay: Literal["none", "linear", "cosine"] = "none"
    warmup: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    max_length: int = 32
    prox_mu: float = 0.0
    scaffold: bool = False
    trainer: str = ""

    def steps_in(self, number: int) -> int:
        """Optimiser steps of a round, counted from 1.

        Example:
            >>> [Train(phases=(64, 8)).steps_in(number) for number in (1, 2, 3)]
            [64, 8, 8]
        """
        return ((self.steps, *self.phases)[: number + 1])[-1]


@dataclass(frozen=True, slots=True)
class Lora:
    """[lora]: the adapter, as `peft.LoraConfig` names it.

    Attributes:
        rank: r.
        alpha: the scaling is alpha / r (or alpha / sqrt(r)).
        targets: module name endings, or ["all-linear"].
        scaling: "lora" (alpha / r) or "rslora" (alpha / sqrt(r)).
        init: A is drawn anew each "round" or once a "run".
        rank_down: rank of the merged update on its way back; 0: 4 r.
        rank_out: rank of the adapter that is written out at the end; 0: as high as it
            takes to cut nothing off.
        space: what is merged: each module's "product" B A; the same as a "residual",
            which no rank is cut off from on the way down; "frozen-a": B alone, A being
            drawn and never trained; "core": an r x r matrix alone, between a B and an
            A that are drawn and never trained; "share-a": A alone, each client keeping
            a B of its own, so that there is no one global model; or the "factors"
            apart.
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ("query", "value")
    scaling: Literal["lora", "rslora"] = "lora"
    init: Literal["run", "round"] = "run"
    rank_down: int = 0
    rank_out: int = 0
    space: Literal["product", "residual", "frozen-a", "share-a", "core", "factors"] = (
        "product"
    )


@dataclass(frozen=True, slots=True)
class Merge:
    """[merge]: how contributions become one update.

    Attributes:
        recipe: a recipe's text, such as "fedavg()" or "ties(density=0.2)".
        weights: a client counts by its "examples", or all alike ("uniform").
        tree: "flat", or "regions": states travel up through the clients' regions.
        server_optimizer: what follows the merge, such as "momentum(0.9)"; empty: none.
    """

    recipe: str = "fedavg()"
    weights: Literal["examples", "uniform"] = "examples"
    tree: Literal["flat", "regions"] = "flat"
    server_optimizer: str = ""


@dataclass(frozen=True, slots=True)
class Wire:
    """[wire]: how updates travel.

    Attributes:
        up: format of a reply: "fp32", "fp16", "fp8", "int8", "int4", "sign256" (one bit
            a value), "sparse(density=0.05)", "dare(density=0.1)", "masked(0.1)", or
            "auto": each client measures which one carries most energy for its bytes.
        down: format of the merged update; "auto": the server measures.
        feedback: keep what the format took away and add it to the next reply.
        up_bytes: the most bytes of a reply, such as "2MB": each client fits formats and
            densities to it, tensor by tensor; 0: no budget.
        down_bytes: the most bytes of a merged update, which is the same for all clients
            and fitted likewise; 0: no budget.
    """

    up: str = "sign256"
    down: str = "fp16"
    feedback: bool = True
    up_bytes: str | int = 0
    down_bytes: str | int = 0


@dataclass(frozen=True, slots=True)
class Eval:
    """[eval]: how the global model is judged.

    Attributes:
        where: on the "server"'s test set, by the "clients", "both", or "none".
        every: rounds between evaluations (the last is always one).
        metric: the one that plots, gains, `keep` and `early_stop` are about; all
            others are recorded beside it.
        keep: which round's model is written out: the "last", or the "best" by
            `metric` (then its own number is no estimate any more where it was chosen
            on the test set).
        early_stop: stop after so many evaluations in a row without a better one;
            0: never. What is trained for comparison is trained as long as was run.
        local: train each client alone as long, for comparison.
        central: train one model on all data as long, for comparison.
        probes: clients tell how far training took them from the model they received,
            measured on their machines by what they keep for validation: the loss on
            the way between both models, how alike their hidden states are. Numbers
            alone are sent.
    """

    where: Literal["server", "clients", "both", "none"] = "server"
    every: int = 1
    metric: str = "accuracy"
    keep: Literal["last", "best"] = "last"
    early_stop: int = 0
    local: bool = True
    central: bool = False
    probes: bool = False


@dataclass(frozen=True, slots=True)
class Journal:
    """[journal]: what is kept on disk.

    Attributes:
        keep: sealed payloads of "all" rounds, of the "last", or of so many.
    """

    keep: str | int = "all"


@dataclass(frozen=True, slots=True)
class Plan:
    """[plan]: what `fedelta plan` reckons with; a run itself never reads it.

    Attributes:
        line_up: a client's line to the server, bits a second, such as "10Mbit".
        line_down: its line from the server.
        gflops: what a client's machine computes, 10^9 operations a second; 0: what
            one thread of this one does.
    """

    line_up: str = "10Mbit"
    line_down: str = "50Mbit"
    gflops: float = 0.0


@dataclass(frozen=True, slots=True)
class Config:
    """A whole run."""

    run: Run = field(default_factory=Run)
    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    clients: tuple[Client, ...] = ()
    train: Train = field(default_factory=Train)
    lora: Lora = field(default_factory=Lora)
    merge: Merge = field(default_factory=Merge)
    wire: Wire = field(default_factory=Wire)
    round: Round = field(default_factory=Round)
    eval: Eval = field(default_factory=Eval)
    journal: Journal = field(default_factory=Journal)
    gate: Gate = field(default_factory=Gate)
    plan: Plan = field(default_factory=Plan)
    privacy: Privacy = field(default_factory=Privacy)
    personal: Personal = field(default_factory=Personal)

    def of(self, client: str) -> "Config":
        """The configuration as one client sees it: with its own rank and alpha.

        Example:
            >>> mixed = Config(clients=(Client("a", rank=2), Client("b")))
            >>> mixed.of("a").lora.rank, mixed.of("b").lora.rank
            (2, 8)
        """
        own = next((one for one in self.clients if one.name == client), None)
        if own is None or not (own.rank or own.alpha):
            return self
        rank, alpha = own.rank or self.lora.rank, own.alpha or self.lora.alpha
        return replace(self, lora=replace(self.lora, rank=rank, alpha=alpha))

    @property
    def highest_rank(self) -> int:
        """The largest LoRA rank of any client."""
        return max([self.lora.rank, *(one.rank for one in self.clients)])
