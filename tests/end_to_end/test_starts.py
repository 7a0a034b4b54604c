"""A run that could not begin leaves its folder to the next one."""

from dataclasses import replace
from pathlib import Path

import pytest

from fedelta.protocols.errors import ConfigError
from fedelta.server.simulations import resume, simulate
from tests import tiny


def test_a_failed_start_does_not_keep_the_folder(tmp_path: Path) -> None:
    config = tiny.config(tmp_path, eval={"local": False}, run={"rounds": 1})
    gone = replace(config, model=replace(config.model, id=str(tmp_path / "gone")))
    folder = Path(config.run.out)
    for _ in range(2):
        with pytest.raises(ConfigError, match="gone"):
            simulate(gone, workers=0)
    with pytest.raises(ConfigError, match="holds no run"):
        resume(folder)
    done = simulate(config, workers=0)
    with pytest.raises(ConfigError, match="fedelta resume"):
        simulate(config, workers=0)
    assert resume(folder) == done
    for one in ("journal", "clients"):
        assert (folder / one).stat().st_mode & 0o777 == 0o700
    (folder / "config.json").unlink()
    with pytest.raises(ConfigError, match="holds a model"):
        simulate(config, workers=0)
