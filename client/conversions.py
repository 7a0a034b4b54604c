"""Models that come as one GGUF file, made into an ordinary model folder once.

Reading a GGUF through transformers takes its quantised values apart, which is slow,
and leaves behind that the model was quantised, which then stops it from being
trained. What is kept is a folder of safetensors in float32, the file's own values.
"""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ..protocols.errors import ConfigError

LEFT_BEHIND = ("quantization_config",)
"""Keys of config.json that say that the model was quantised."""

BLOCK = 1 << 20


def converted(file: Path, cache: str = "") -> Path:
    """The folder that a GGUF file was made into; made now where it is not there.

    Args:
        file: the GGUF file.
        cache: where such folders are kept; empty: the user's cache folder.

    Returns:
        A folder that `from_pretrained` reads, named by the file's digest. It appears
        whole or not at all, also where two processes make it at once.

    Raises:
        ConfigError: the package ``gguf`` is missing, or the file is no model.
    """
    home = Path(cache) if cache else _users()
    target = home / f"{file.stem}-{_digest(file)[:16]}"
    if target.is_dir():
        return target
    try:
        home.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{file.stem}-", dir=home))
    except OSError as error:
        raise ConfigError(
            f"model.cache: {home} cannot be written ({error.strerror}): name another "
            "folder"
        ) from error
    try:
        _write(file, part)
        part.chmod(0o755)
        _settle(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def _users() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fedelta" / "models"


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _settle(part: Path, target: Path) -> None:
    try:
        part.rename(target)
    except OSError:
        if not target.is_dir():  # else another process was first, with the same bytes
            raise


def _write(file: Path, folder: Path) -> None:
    import torch
    import transformers

    where: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, **where)
        body: Any = transformers.AutoModelForCausalLM.from_pretrained(
            file.parent, dtype=torch.float32, **where
        )
    except ImportError as error:
        raise ConfigError(
            f"{file.name} is a GGUF file, which needs a package: "
            'pip install "fedelta[lm]"'
        ) from error
    except Exception as error:
        raise ConfigError(
            f"{file} cannot be read as a model ({type(error).__name__}: {error})"
        ) from error
    body.hf_quantizer = None
    body.is_quantized = False
    for key in LEFT_BEHIND:
        if hasattr(body.config, key):
            delattr(body.config, key)
    body.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _forget(folder / "config.json")


def _forget(path: Path) -> None:
    said: dict[str, Any] = json.loads(path.read_text("utf-8"))
    for key in LEFT_BEHIND:
        said.pop(key, None)
    path.write_text(json.dumps(said, indent=2, sort_keys=True) + "\n", "utf-8")
