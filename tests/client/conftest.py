"""One tiny model and its base for all client tests."""

from pathlib import Path

import pytest

from fedelta.client import data, models
from fedelta.protocols.settings import Config
from tests import tiny


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny model and data."""
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="session")
def config(folder: Path) -> Config:
    """The tiny run."""
    return tiny.config(folder)


@pytest.fixture(scope="session")
def task(config: Config) -> data.Task:
    """Its data."""
    return data.load(config)


@pytest.fixture(scope="session")
def loaded(config: Config, task: data.Task) -> models.Base:
    """Its base model; use `base`, which puts it back to its own bytes."""
    return models.load_base(config, task.labels)


@pytest.fixture
def base(loaded: models.Base) -> models.Base:
    """The base model at its own bytes."""
    loaded.reset()
    return loaded
