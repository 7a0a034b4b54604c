"""Logs: JSON with run, round and client in each line, where it was asked for."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from fedelta.client import logs
from fedelta.protocols.errors import ConfigError

LOG = logging.getLogger("fedelta.test")


@pytest.fixture(autouse=True)
def _put_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    ours = logging.getLogger("fedelta")
    before = (ours.handlers, ours.propagate, ours.level)
    monkeypatch.setenv(logs.VARIABLE, "text")
    yield
    ours.handlers, ours.propagate = before[:2]
    ours.setLevel(before[2])


def said(form: str) -> str:
    stream = io.StringIO()
    logs.choose(form)
    logs.begin(stream)
    LOG.info("before %d", 1)
    with logs.about(run="00ff", round=2), logs.about(client="a"):
        LOG.warning("in it", extra={"told": {"seconds": 1.5}})
    try:
        json.loads("what\nhappened")
    except ValueError:
        LOG.exception("after")
    return stream.getvalue()


def test_every_line_is_an_object_with_the_same_keys() -> None:
    lines = [json.loads(text) for text in said("json").splitlines()]
    assert len(lines) == 3
    for line in lines:
        assert list(line)[:7] == [
            *("at", "level", "logger", "message"),
            *("run", "round", "client"),
        ]
    first, second, third = lines
    assert (first["run"], first["round"], first["client"]) == (None, None, None)
    assert (second["run"], second["round"], second["client"]) == ("00ff", 2, "a")
    assert (second["level"], second["seconds"]) == ("warning", 1.5)
    assert "JSONDecodeError: Expecting value" in third["error"]
    assert third["client"] is None


def test_people_get_lines() -> None:
    first, second, third, *trace = said("").splitlines()
    assert first.endswith("Z before 1")
    assert second.endswith("Z round 2, client a, in it")
    assert third.endswith("after")
    assert "JSONDecodeError" in trace[-1]


def test_the_form_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(logs.VARIABLE, "json")
    assert json.loads(logs.line("host", "up"))["logger"] == "fedelta.host"
    with pytest.raises(ConfigError, match='"text" or "json"'):
        logs.choose("yaml")
