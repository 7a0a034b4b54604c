"""The roster: which key is admitted under which name.

``roster.toml`` is the one truth; SuperLink's registrations and the proxy's list of
keys are made from it. Revoked members stay in it, so that their names and keys are
not given out again.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ...client.joins import keys, tables
from ...protocols.errors import ConfigError
from .. import files

HEAD = """\
# Who takes part. `fedelta host admit` and `fedelta host revoke` write this file;
# `fedelta host up` makes SuperLink and the proxy follow it.
"""


@dataclass(frozen=True, slots=True)
class Member:
    """One admitted institution.

    Attributes:
        name: what runs, records and its certificate call it.
        key: its public key, as an OpenSSH line without comment.
        admitted: when, UTC.
        revoked: when, UTC; empty: it is not.
    """

    name: str
    key: str
    admitted: str
    revoked: str = ""


@dataclass(frozen=True, slots=True)
class _Roster:
    members: tuple[Member, ...] = ()


def read(path: Path) -> list[Member]:
    """All members, revoked ones too, in the order of admission.

    Raises:
        ConfigError: the file cannot be read.
    """
    return list(tables.read(path, _Roster).members)


def active(path: Path) -> dict[str, Member]:
    """The members that are not revoked, by name."""
    return {one.name: one for one in read(path) if not one.revoked}


def write(path: Path, members: Iterable[Member]) -> None:
    """Write the roster, whole or not at all."""
    parts = [HEAD]
    for one in members:
        lines = [
            f"{key} = {json.dumps(getattr(one, key))}"
            for key in ("name", "key", "admitted", "revoked")
        ]
        parts.append("\n[[members]]\n" + "\n".join(lines) + "\n")
    files.write(path, "".join(parts).encode())


def admit(path: Path, name: str, line: str, at: str) -> Member:
    """Add a member.

    Args:
        path: the roster.
        name: letters, digits, dot, dash, underscore.
        line: the public key's OpenSSH line.
        at: the time, UTC.

    Returns:
        The member; the one that is there if the same key has the same name already.

    Raises:
        ConfigError: the name or the key is taken, or was revoked.
    """
    keys.parse_public(line)
    bare = " ".join(line.split()[:2])
    members = read(path)
    for one in members:
        if one.name == name and one.key == bare and not one.revoked:
            return one
        if one.key == bare:
            how = f"revoked on {one.revoked}" if one.revoked else "admitted"
            raise ConfigError(f"this key is {how} as {one.name!r}: ask for a new key")
        if one.name == name and not one.revoked:
            raise ConfigError(
                f"{name!r} is admitted with another key: revoke it first, "
                f"`fedelta host revoke {name}`"
            )
    member = Member(name, bare, at)
    write(path, [*members, member])
    return member


def revoke(path: Path, name: str, at: str) -> Member:
    """Take a member's admission back.

    Raises:
        ConfigError: nobody is admitted under that name.
    """
    members = read(path)
    for place, one in enumerate(members):
        if one.name == name and not one.revoked:
            members[place] = replace(one, revoked=at)
            write(path, members)
            return members[place]
    there = ", ".join(sorted(active(path))) or "nobody"
    raise ConfigError(f"nobody is admitted as {name!r}: there is {there}")
