"""What a run starts from: the base model, the data, and who owns it."""

from dataclasses import dataclass
from typing import Literal


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
        only: the names of those of them that take part; empty: all. What each of them
            has stays the same.
        partition: "dirichlet" (by label, skew by alpha), "iid", or "column:NAME"
            (one client a value).
        alpha: Dirichlet concentration; small is skewed.
        examples: at most this many training examples in all; 0: all.
        test: a file with the global test set, or the share of the source held out.
        test_examples: at most this many test examples; 0: all.
        validation: the share of its examples that each client keeps for validation.
        regions: how many regions simulated clients are dealt to, in turn.
        labels: the classes, where only clients have the data; empty: those found.
        hand_on: where no [[clients]] say it: whether task vectors may be handed on.
    """

    source: str = "icd10"
    text: str = "text"
    label: str = "label"
    prompt: str = ""
    completion: str = ""
    messages: str = ""
    folder: str = ""
    clients: int = 8
    only: tuple[str, ...] = ()
    partition: str = "dirichlet"
    alpha: float = 0.3
    examples: int = 0
    test: str | float = 0.2
    test_examples: int = 0
    validation: float = 0.1
    regions: int = 1
    labels: tuple[str, ...] = ()
    hand_on: bool = False


@dataclass(frozen=True, slots=True)
class Client:
    """[[clients]]: one data owner.

    Attributes:
        name: who, unique; letters, digits, dot, dash and underscore.
        data: its file or `datasets` folder.
        region: which branch of the tree it belongs to.
        examples_cap: it counts for at most this many examples; 0: no cap.
        up_bytes: its own uplink budget a round, as `wire.up_bytes`; 0: the run's.
        rank: its own LoRA rank; 0: the run's.
        alpha: its own LoRA alpha; 0: the run's.
        line_up: its own line to the server, as `plan.line_up`; empty: the plan's.
        line_down: its own line from the server; empty: the plan's.
        gflops: what its own machine computes a second; 0: the plan's.
        hand_on: its task vectors may leave the server, by `fedelta export`.
        seconds: what a round takes it on the simulated clock of asynchronous rounds; 0:
            drawn from the seed, between 1 and 10.
    """

    name: str
    data: str = ""
    region: str = ""
    examples_cap: int = 0
    up_bytes: str | int = 0
    rank: int = 0
    alpha: float = 0.0
    line_up: str = ""
    line_down: str = ""
    gflops: float = 0.0
    hand_on: bool = False
    seconds: float = 0.0
