"""Machines of a small network on this one: namespaces on a bridge of their own."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path
from typing import Self

SUBNET = "10.77.0"
PREFIX = "fedelta"
SLOW = ("netem delay 50ms rate 4mbit", "tbf rate 4mbit burst 32k latency 400ms")
LOCK = Path("/run/fedelta-networks.lock")
"""Held while a network is there: all have the same names and addresses."""


def ip(*words: str, check: bool = True) -> None:
    """Run `ip`; errors are raised with what it said."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)  # noqa: S607
    if check and done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def lacking() -> str:
    """What is missing to make networks; empty: nothing."""
    if os.geteuid() or not shutil.which("ip"):
        return "needs root and iproute2 (network namespaces)"
    probe = f"{PREFIX}-probe"
    try:
        ip("netns", "add", probe)
    except RuntimeError as error:
        return f"network namespaces cannot be made here: {error}"
    ip("netns", "del", probe)
    return ""


class Network:
    """Namespaces on one bridge, which lies in a namespace of its own: the root's stays.

    Args:
        names: the machines, the first gets the first address.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.addresses = {name: f"{SUBNET}.{at}" for at, name in enumerate(names, 1)}

    def __enter__(self) -> Self:
        """Make it, one at a time; what an earlier one left is taken away first."""
        self._lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._remove()
        switch = f"{PREFIX}-switch"
        ip("netns", "add", switch)
        ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", switch, "link", "set", "bridge", "up")
        for at, (name, address) in enumerate(self.addresses.items()):
            space = self.space(name)
            ip("netns", "add", space)
            ip("-n", space, "link", "set", "lo", "up")
            ip(
                *("-n", space, "link", "add", "eth0", "type", "veth"),
                *("peer", "name", f"port{at}", "netns", switch),
            )
            ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")
            ip("-n", switch, "link", "set", f"port{at}", "master", "bridge", "up")
        return self

    def __exit__(self, *_: object) -> None:
        """Take it away."""
        self._remove()
        os.close(self._lock)

    def space(self, name: str) -> str:
        """A machine's namespace."""
        return f"{PREFIX}-{name}"

    def inside(self, name: str) -> list[str]:
        """Words that run a command on a machine."""
        return ["ip", "netns", "exec", self.space(name)]

    def cut(self, name: str) -> None:
        """Pull a machine's cable."""
        ip("-n", self.space(name), "link", "set", "eth0", "down")

    def plug(self, name: str) -> None:
        """Put it back."""
        ip("-n", self.space(name), "link", "set", "eth0", "up")

    def slow(self, name: str) -> str:
        """Give a machine a line of 4 Mbit/s, with 50 ms on top where the kernel can.

        Returns:
            How it was done, or why not.
        """
        where = ["tc", "-n", self.space(name), "qdisc", "add", "dev", "eth0", "root"]
        said = ""
        for how in SLOW:
            done = subprocess.run(
                [*where, *how.split()], check=False, capture_output=True, text=True
            )
            if not done.returncode:
                return how
            said = done.stderr.strip()
        return f"left as it is: {said}"

    def counted(self, name: str) -> tuple[int, int]:
        """Bytes that a machine's device has received and sent."""
        base = "/sys/class/net/eth0/statistics"
        found = [
            subprocess.run(
                [*self.inside(name), "cat", f"{base}/{one}"],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for one in ("rx_bytes", "tx_bytes")
        ]
        return int(found[0]), int(found[1])

    def _remove(self) -> None:
        there = Path("/var/run/netns")
        for path in there.glob(f"{PREFIX}-*") if there.exists() else ():
            ip("netns", "del", path.name, check=False)
