"""The page that lies beside a written model: what it is, and how it is loaded."""

from ..client.layouts import personal
from ..protocols.settings import Config
from .sessions import Session

_COPY = (
    'The run trained on `model.id = "{}"`, a package\'s copy of that model, whose '
    "weights may be rounded otherwise. Load it from the folder that "
    "`fedelta.client.loading.place(Model(id=...))` names for the very same outputs."
)
_COSINES = (
    "`head.safetensors` holds one vector a class (`labels.json`): scores are 20 times "
    "the cosines with the mean-pooled, normalised last hidden state. "
    "After the lines above:"
)
_ASKING = """\
import json
from pathlib import Path
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer
labels = json.loads(Path("THIS FOLDER/labels.json").read_text())["labels"]
head = load_file("THIS FOLDER/head.safetensors")["classifier.weight"]
tokenizer = AutoTokenizer.from_pretrained("{where}")
texts = tokenizer(["one text", "another"], padding=True, truncation=True,
                  max_length={longest}, return_tensors="pt")
with torch.inference_mode():
    states = model(**texts).last_hidden_state
mask = texts["attention_mask"].unsqueeze(-1)
mean = (states * mask).sum(1) / mask.sum(1)
scores = 20 * torch.cosine_similarity(mean.unsqueeze(1), head, dim=-1)
print([labels[place] for place in scores.argmax(1)])"""


_SHARED = (
    "This is no finished adapter: `lora_A` is what all clients share, `lora_B` is "
    "zero. Each client has a B of its own, which stayed with it (`factors` in its "
    "state of the run); others train one from here."
)


def leaflet(session: Session, kind: str) -> str:
    """The README of a model's folder, with the head that model hubs read.

    Args:
        session: the run.
        kind: what was written: "adapter", "folded" or "both".
    """
    from ..client.folders import public

    config, folded = session.config, kind == "folded"
    name = public(config.model.id)
    lines = [
        "---",
        f"base_model: {name}",
        f"library_name: {'transformers' if folded else 'peft'}",
        "---",
        f"# {config.run.name}",
        "",
        _told(session),
        "",
        "```python",
        *_loading(config, name, len(session.task.labels), folded=folded),
        "```",
    ]
    if name != config.model.id and not folded:
        lines += ["", _COPY.format(config.model.id)]
    if personal(config):
        lines += ["", _SHARED]
    if session.base.heads and config.model.head != "linear":
        asking = _ASKING.format(
            where="THIS FOLDER" if folded else name,
            longest=config.train.max_length,
        )
        lines += ["", _COSINES, "", "```python", asking, "```"]
    return "\n".join([*lines, ""])


def _told(session: Session) -> str:
    return (
        f"Merged by `{session.config.merge.recipe}` over {session.model.number} rounds "
        f"of {len(session.roster)} clients; weights `{session.model.digest}`."
    )


def _loading(config: Config, name: str, classes: int, *, folded: bool) -> list[str]:
    """The lines of Python that load it."""
    family, more = "AutoModel", ""
    if config.model.task == "causal-lm":
        family = "AutoModelForCausalLM"
    elif config.model.head == "linear":
        family, more = "AutoModelForSequenceClassification", f", num_labels={classes}"
    head = f"from transformers import {family}"
    if folded:
        return [head, f'model = {family}.from_pretrained("THIS FOLDER")']
    return [
        head,
        "from peft import PeftModel",
        f'base = {family}.from_pretrained("{name}"{more})',
        'model = PeftModel.from_pretrained(base, "THIS FOLDER")',
    ]
