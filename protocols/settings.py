"""The tables of a run's configuration, as both sides read them.

Each class is one TOML table; a field is a key, its default the value of a key left
out, and the words beside it are what `fedelta init` and an error message say.
`fedelta.server.runs` reads files, presets and ``--set`` into a `Config`.
"""

from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class Run:
    """[run]: the experiment as a whole.

    Attributes:
        name: what the report calls it.
        seed: everything random follows from it.
        rounds: how many rounds.
        out: the run's folder.
        engine: "in-process": worker processes on this machine.
    """

    name: str = "run"
    seed: int = 0
    rounds: int = 3
    out: str = "runs/run"
    engine: Literal["in-process"] = "in-process"


@dataclass(frozen=True, slots=True)
class Model:
    """[model]: the base model.

    Attributes:
        id: a preset's name ("minilm", "smollm2"), a folder, or a Hugging Face id.
        task: "classification", or "causal-lm": text that goes on.
        head: for classification: "cosine" (mean-pooled embedding against one vector
            a class, started from the class names' embeddings) or "linear" (the
            `AutoModelForSequenceClassification` head).
        revision: of a Hugging Face id.
        dtype: what the base computes in, "float32" or "bfloat16"; what is trained
            has a float32 master in any case.
        cache: where converted models are kept; empty: the user's cache folder.
    """

    id: str = "minilm"
    task: Literal["classification", "causal-lm"] = "classification"
    head: Literal["cosine", "linear"] = "cosine"
    revision: str = ""
    dtype: Literal["float32", "bfloat16"] = "float32"
    cache: str = ""


@dataclass(frozen=True, slots=True)
class Data:
    """[data]: what is trained and tested on, where no [[clients]] say it.

    Attributes:
        source: a built-in set ("icd10"; "domains" or "languages" for a causal LM),
            or a JSONL, CSV or Parquet file, or a `datasets` folder.
        text: the column with the text.
        label: the column with the class; for a causal LM, with the domain by which
            it is judged: where there is none, the client's name.
        prompt: for a causal LM, the column with what is given and not learned.
        completion: the column with what is to follow the prompt.
        messages: for a causal LM, the column with a conversation: a list of messages
            with "role" and "content".
        folder: where the built-in set "languages" finds its unpacked packages.
        clients: how many clients the data is split among.
        partition: "dirichlet" (by label, skew by alpha), "iid", or "column:NAME"
            (one client a value).
        alpha: Dirichlet concentration; small is skewed.
        examples: at most this many training examples in all; 0: all.
        test: a file with the global test set, or the share of the source held out.
        test_examples: at most this many test examples; 0: all.
        validation: the share of its examples that each client keeps for validation.
        regions: how many regions simulated clients are dealt to, in turn.
        labels: the classes, where only the clients have the data (a hosted run);
            empty: those that are found.
    """

    source: str = "icd10"
    text: str = "text"
    label: str = "label"
    prompt: str = ""
    completion: str = ""
    messages: str = ""
    folder: str = ""
    clients: int = 8
    partition: str = "dirichlet"
    alpha: float = 0.3
    examples: int = 0
    test: str | float = 0.2
    test_examples: int = 0
    validation: float = 0.1
    regions: int = 1
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Client:
    """[[clients]]: one data owner.

    Attributes:
        name: who, unique; letters, digits, dot, dash and underscore.
        data: its file or `datasets` folder.
        region: which branch of the tree it belongs to.
        examples_cap: it counts for at most this many examples; 0: no cap.
        up_bytes: its own uplink budget a round; 0: the run's.
        rank: its own LoRA rank; 0: the run's.
        alpha: its own LoRA alpha; 0: the run's.
    """

    name: str
    data: str = ""
    region: str = ""
    examples_cap: int = 0
    up_bytes: int = 0
    rank: int = 0
    alpha: float = 0.0


@dataclass(frozen=True, slots=True)
class Train:
    """[train]: what a client does in a round.

    Attributes:
        mode: "lora": adapters; "full": every weight.
        steps: optimiser steps a round.
        batch: examples a step (rows, where they are packed).
        micro_batch: of those, how many are computed at once; their gradients add up.
            0: all.
        checkpointing: keep fewer activations and compute them again: less memory,
            more time.
        packing: put several short texts of a causal LM into one row.
        learning_rate: peak.
        optimizer: "adamw" or "sgd".
        schedule: "constant", "linear" or "cosine" over the round.
        warmup: share of the steps that warm up.
        weight_decay: AdamW's.
        clip_norm: gradient norm bound; 0: none.
        max_length: tokens of a text that are read.
        prox_mu: FedProx's proximal weight; 0: none.
    """

    mode: Literal["lora", "full"] = "lora"
    steps: int = 8
    batch: int = 16
    micro_batch: int = 0
    checkpointing: bool = False
    packing: bool = False
    learning_rate: float = 3e-3
    optimizer: Literal["adamw", "sgd"] = "adamw"
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    max_length: int = 32
    prox_mu: float = 0.0


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
        space: what is merged: each module's "product" B A, or the "factors" apart.
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ("query", "value")
    scaling: Literal["lora", "rslora"] = "lora"
    init: Literal["run", "round"] = "run"
    rank_down: int = 0
    space: Literal["product", "factors"] = "product"


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
        up: format of a reply: "fp32", "fp16", "sign256", "sparse(density=0.05)",
            "dare(density=0.1)".
        down: format of the merged update.
        feedback: keep what the format took away and add it to the next reply.
    """

    up: str = "sign256"
    down: str = "fp16"
    feedback: bool = True


@dataclass(frozen=True, slots=True)
class Round:
    """[round]: who takes part and how long it may take.

    Attributes:
        clients: how many are asked a round; 0: all.
        quorum: the least number (or, below 1, share) of accepted replies.
        deadline_seconds: after which a round stops waiting.
        norm_cap: a reply whose norm is larger is refused; 0: none.
        retries: how often a round without quorum is tried again.
    """

    clients: int = 0
    quorum: float = 0.5
    deadline_seconds: float = 600.0
    norm_cap: float = 0.0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Eval:
    """[eval]: how the global model is judged.

    Attributes:
        where: on the "server"'s test set, by the "clients", "both", or "none".
        every: rounds between evaluations (the last is always one).
        metric: the one that plots and gains are about.
        local: train each client alone as long, for comparison.
        central: train one model on all data as long, for comparison.
    """

    where: Literal["server", "clients", "both", "none"] = "server"
    every: int = 1
    metric: str = "accuracy"
    local: bool = True
    central: bool = False


@dataclass(frozen=True, slots=True)
class Journal:
    """[journal]: what is kept on disk.

    Attributes:
        keep: sealed payloads of "all" rounds, of the "last", or of so many.
    """

    keep: str | int = "all"


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
