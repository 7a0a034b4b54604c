"""lm-eval's tasks on a finished run's model, with data that is at hand: no network.

Some small tasks come with us (`tasks`); others are given by their YAML file, or by a
folder of them and their names, whose data lies where they say.
"""

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from ...protocols.errors import ConfigError
from ...protocols.settings import Config
from .. import environments, files

FILE = "tasks.json"
CONFIG, MODEL = "config.json", "model"
FOLDER = Path(__file__).parent / "tasks"
ADAPTER = "adapter_config.json"
BATCH = 8
DRAWS = 1000
"""Resamplings behind an error that no formula gives."""
BASE, MERGED = "base", "merged"


def shipped() -> list[str]:
    """The tasks that come with us.

    Example:
        >>> shipped()
        ['fedelta_arithmetic', 'fedelta_logic', 'fedelta_sentences']
    """
    return sorted(one.stem for one in FOLDER.glob("*.yaml"))


def judge(
    folder: Path, tasks: Sequence[str] = (), limit: int = 0, include: Path | None = None
) -> dict[str, Any]:
    """Run tasks on a run's base and on the model that it wrote out.

    Args:
        folder: the run's; what is found goes to its ``tasks.json``.
        tasks: names, or YAML files; empty: all that come with us.
        limit: so many rows of each task; 0: all.
        include: a folder with more tasks, as lm-eval's ``--include_path``.

    Returns:
        "limit", and "tasks": by task and model ("base", "merged") its metrics, an
        error "NAME_stderr" beside each that has one.

    Raises:
        ConfigError: lm-eval is not installed, the run is no finished one of a causal
            LM, or there is no such task or data.
    """
    if find_spec("lm_eval") is None:
        raise ConfigError('lm-eval runs these: pip install "fedelta[lm-eval]"')
    config = _config(Path(folder))
    with _offline() as there:
        asked = [_task(name, there) for name in tasks or shipped()]
        found: dict[str, dict[str, dict[str, float]]] = {}
        with _models(Path(folder), config) as models:
            for name, model in models:
                for task, values in _run(model, asked, limit, include).items():
                    found.setdefault(task, {})[name] = values
    told = {"limit": limit, "tasks": found}
    files.write_json(Path(folder) / FILE, told)
    return told


def _config(folder: Path) -> Config:
    from ..runs import config_from_json

    if not (folder / MODEL).is_dir() or not (folder / CONFIG).exists():
        raise ConfigError(f"{folder} holds no finished run with a model")
    config = config_from_json((folder / CONFIG).read_text("utf-8"))
    if config.model.task != "causal-lm":
        raise ConfigError('lm-eval judges language models: model.task = "causal-lm"')
    return config


@contextmanager
def _offline() -> Iterator[Path]:
    """Nothing is fetched, and what is read is cached in a folder of its own."""
    environments.prepare()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    held = {name: os.environ.get(name) for name in ("HF_HUB_OFFLINE",)}
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        with tempfile.TemporaryDirectory() as there:
            yield Path(there)
    finally:
        for name, value in held.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _task(name: str, cache: Path) -> str | dict[str, Any]:
    """A task's table, its files found beside it; a name that lm-eval is to know."""
    path = FOLDER / f"{name}.yaml" if name in shipped() else Path(name)
    if path.suffix not in (".yaml", ".yml"):
        return name
    if not path.is_file():
        raise ConfigError(f"--tasks {name}: there is no such file")
    given: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    kept = dict(given.get("dataset_kwargs") or {})
    if kept.get("data_files"):
        kept["data_files"] = _placed(kept["data_files"], path.parent)
        kept["cache_dir"] = str(cache)
    return given | {"dataset_kwargs": kept}


def _placed(given: Any, folder: Path) -> Any:
    """Files' names as paths: those that are relative are beside the task."""
    if isinstance(given, Mapping):
        return {split: _placed(one, folder) for split, one in given.items()}
    if isinstance(given, list):
        return [_placed(one, folder) for one in given]
    return str(folder / given)


@contextmanager
def _models(folder: Path, config: Config) -> Iterator[Iterator[tuple[str, Any]]]:
    """The base and the merged model, in turn, as lm-eval takes them."""
    import transformers
    from lm_eval.models.huggingface import HFLM

    from ...client.loading import place, quiet

    family: Any = transformers.AutoModelForCausalLM
    where, written = place(config.model), folder / MODEL

    def wrapped(body: Any) -> Any:
        return HFLM(
            pretrained=body.eval(),
            tokenizer=tokenizer,
            backend="causal",
            batch_size=BATCH,
            device="cpu",
        )

    def each() -> Iterator[tuple[str, Any]]:
        body = family.from_pretrained(where, dtype="float32")
        yield BASE, wrapped(body)
        if (written / ADAPTER).exists():
            from peft import PeftModel

            yield MERGED, wrapped(PeftModel.from_pretrained(body, str(written)))
        else:
            yield MERGED, wrapped(family.from_pretrained(written, dtype="float32"))

    with quiet():
        tokenizer = transformers.AutoTokenizer.from_pretrained(where)
        yield each()


def _run(
    model: Any, tasks: Sequence[Any], limit: int, include: Path | None
) -> dict[str, dict[str, float]]:
    from lm_eval import evaluator, simple_evaluate
    from lm_eval.tasks import TaskManager

    names = [one for one in tasks if isinstance(one, str)]
    path = None if include is None else str(include)
    known = TaskManager(include_path=path, include_defaults=bool(names))
    for name in names:
        if name not in known.all_tasks:
            told = f"there is no such task: {', '.join(shipped())}, lm-eval's own"
            raise ConfigError(f"--tasks {name}: {told}, or a YAML file")
    evaluator.get_git_commit_hash = str  # else git complains where no repository is
    try:
        found = simple_evaluate(
            model=model,
            tasks=list(tasks),
            limit=limit or None,
            task_manager=known,
            bootstrap_iters=DRAWS,
            log_samples=False,
        )
    except (ConnectionError, FileNotFoundError, OSError) as error:
        raise ConfigError(f"a task's data is not at hand: {error}") from error
    return {task: _plain(values) for task, values in found["results"].items()}


def _plain(values: Mapping[str, Any]) -> dict[str, float]:
    """Metrics by their plain names: "acc,none" is "acc"."""
    return {
        name.split(",")[0]: float(value)
        for name, value in values.items()
        if "," in name and isinstance(value, int | float)
    }
