"""`fedelta join check`: is everything right, before the first round needs it?

Each check is a tick or a cross with what to do. Checks that need one that failed are
left out.
"""

import datetime as dt
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ... import __version__
from ...protocols.errors import FedeltaError
from . import keys
from .folders import JoinFolder

CLOCK = 5.0
"""Seconds that clocks may differ; Flower refuses signatures some ten seconds old."""
SOON = 30
"""Days before a certificate's end that are worth a word."""
SHOWN = 4
"""Classes that are told by name."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        what: the question.
        good: the answer.
        said: what was found, or what to do.
    """

    what: str
    good: bool
    said: str


def check(folder: JoinFolder) -> Iterator[Finding]:
    """All checks, one after the other."""
    yield from _each(folder, (("join.toml", _policy), ("key", _key), ("data", _data)))
    yield from _each(folder, (("versions", _versions),))
    found = list(_each(folder, (("invitation", _invitation),)))
    yield from found
    if not all(one.good for one in found):
        return
    reached = list(_each(folder, (("server", _server),)))
    yield from reached
    if all(one.good for one in reached):
        yield from _each(folder, (("clock", _clock), ("status", _status)))
        yield from _each(folder, (("model", _model),))


def _each(
    folder: JoinFolder, checks: tuple[tuple[str, Callable[[JoinFolder], str]], ...]
) -> Iterator[Finding]:
    for what, look in checks:
        try:
            yield Finding(what, good=True, said=look(folder))
        except (FedeltaError, OSError, ValueError) as error:
            yield Finding(what, good=False, said=str(error))


def _policy(folder: JoinFolder) -> str:
    privacy = folder.policy.privacy
    return f"read; a release must merge at least {privacy.cohort}"


def _key(folder: JoinFolder) -> str:
    keys.read_private(folder.private)
    if folder.private.stat().st_mode & 0o077:
        raise ValueError(f"{folder.private} is readable by others: chmod 600 it")
    return keys.fingerprint(folder.public.read_text("utf-8"))


def _data(folder: JoinFolder) -> str:
    from ...protocols.settings import Data
    from .. import tables

    own = folder.policy.data
    if not own.file:
        raise ValueError("join.toml names no data.file")
    table = tables.read(own.file, Data(source=own.file, text=own.text, label=own.label))
    labels = sorted({str(one) for one in table[tables.LABEL]})
    if not len(table):
        raise ValueError(f"{own.file} has no examples")
    more = ", ..." if len(labels) > SHOWN else ""
    shown = ", ".join(labels[:SHOWN]) + more
    return f"{len(table)} examples of {len(labels)} classes ({shown})"


def _versions(folder: JoinFolder) -> str:  # noqa: ARG001  a check takes the folder
    needed = ("flwr", "torch", "transformers", "peft", "datasets")
    found, lacking = [f"fedelta {__version__}"], []
    for name in needed:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            lacking.append(name)
    if lacking:
        wanted = 'pip install "fedelta[client]"'
        raise ValueError(f"not installed: {', '.join(lacking)}; {wanted}")
    return ", ".join(found)


def _invitation(folder: JoinFolder) -> str:
    from cryptography import x509

    who = folder.invitation
    pem = x509.load_pem_x509_certificate(who.certificate.encode())
    left = (pem.not_valid_after_utc - dt.datetime.now(dt.UTC)).days
    if left < 0:
        raise ValueError(
            "its certificate has ended: ask the coordinator to admit again"
        )
    soon = f"; its certificate ends in {left} days" if left < SOON else ""
    return f"{who.name} in {who.federation}{soon}"


def _server(folder: JoinFolder) -> str:
    host, _, port = folder.invitation.server.rpartition(":")
    trusted = ssl.create_default_context(cafile=str(folder.authority))
    try:
        with (
            socket.create_connection((host, int(port)), timeout=10) as plain,
            trusted.wrap_socket(plain, server_hostname=host) as wrapped,
        ):
            return f"{folder.invitation.server} answers with {wrapped.version()}"
    except ssl.SSLCertVerificationError as error:
        raise ValueError(
            f"{folder.invitation.server} shows a certificate that is not the "
            f"federation's ({error.verify_message}): ask the coordinator"
        ) from error
    except OSError as error:
        raise ValueError(
            f"{folder.invitation.server} cannot be reached ({error}): is the "
            "coordinator up, and does your firewall let you out?"
        ) from error


def _clock(folder: JoinFolder) -> str:
    import httpx

    trusted = ssl.create_default_context(cafile=str(folder.authority))
    with httpx.Client(verify=trusted, timeout=10) as client:
        said = client.get(f"https://{folder.invitation.server}/").headers["date"]
    apart = (dt.datetime.now(dt.UTC) - parsedate_to_datetime(said)).total_seconds()
    if abs(apart) > CLOCK:
        raise ValueError(
            f"this clock is {apart:+.0f} s from the server's: set it (NTP), or every "
            "request is refused as too old"
        )
    return "agrees with the server's"


def _status(folder: JoinFolder) -> str:
    from .statuses import status

    with status(folder) as asked:
        seen = asked.overview()
    if seen.version != __version__:
        raise ValueError(
            f"the coordinator runs fedelta {seen.version}, this is {__version__}: "
            "install the same version"
        )
    there = {one.name: one.state for one in seen.members}
    return f"known as {seen.caller} ({there.get(seen.caller, 'not registered yet')})"


def _model(folder: JoinFolder) -> str:
    from .. import sessions
    from ..models import load_base
    from . import policies
    from .statuses import status

    with status(folder) as asked:
        runs = asked.overview().runs
        if not runs:
            return "no run is there yet that would name one"
        begun = next(asked.watch(runs[0].name, follow=False), None)
        config = sessions.settings(asked.settings(runs[0].name))
    ours = policies.own(folder.policy, config, folder.invitation.name)
    policies.check(folder.policy, config)
    digest = load_base(ours, config.data.labels).digest
    return _compared(folder, digest, begun)


def _compared(folder: JoinFolder, digest: str, begun: Any) -> str:
    import json

    if folder.policy.model.digest not in ("", digest):
        raise ValueError(f"its digest is {digest}, join.toml says another")
    wanted = json.loads(begun.json).get("base", digest) if begun else digest
    if wanted != digest:
        raise ValueError(f"the run starts from {wanted[:12]}, here is {digest[:12]}")
    return f"there, {digest[:12]}"
