"""What a test needs and a laptop may lack: skipped with a reason, required in CI."""

import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec

import pytest

IN_CI = os.environ.get("CI") == "true"


def _chromium(mark: pytest.Mark) -> str:
    found = shutil.which("chromium")
    return "" if found else "chromium is not here: apt-get install chromium"


def _network(mark: pytest.Mark) -> str:
    from fedelta.benchmarks.networks import lacking

    return lacking()


def _nginx(mark: pytest.Mark) -> str:
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    return "" if found else "nginx is not here: apt-get install nginx"


def _peers(mark: pytest.Mark) -> str:
    lacking = [name for name in mark.args if find_spec(name) is None]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


def _program(mark: pytest.Mark) -> str:
    program, package = mark.args
    found = shutil.which(program)
    return "" if found else f"{program} is not here: apt-get install {package}"


def _root(mark: pytest.Mark) -> str:
    return "" if os.geteuid() == 0 else "needs root"


NEEDS: dict[str, Callable[[pytest.Mark], str]] = {
    "needs_chromium": _chromium,
    "needs_network": _network,
    "needs_nginx": _nginx,
    "needs_program": _program,
    "needs_root": _root,
    "peer": _peers,
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for name, lacks in NEEDS.items():
        for mark in item.iter_markers(name):
            reason = lacks(mark)
            if reason and IN_CI:
                pytest.fail(f"CI must not skip this: {reason}", pytrace=False)
            if reason:
                pytest.skip(reason)
