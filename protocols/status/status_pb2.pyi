from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OverviewRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class OverviewReply(_message.Message):
    __slots__ = ("federation", "caller", "version", "runs", "members", "processes")
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    federation: str
    caller: str
    version: str
    runs: _containers.RepeatedCompositeFieldContainer[Run]
    members: _containers.RepeatedCompositeFieldContainer[Member]
    processes: _containers.RepeatedCompositeFieldContainer[Process]
    def __init__(self, federation: _Optional[str] = ..., caller: _Optional[str] = ..., version: _Optional[str] = ..., runs: _Optional[_Iterable[_Union[Run, _Mapping]]] = ..., members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., processes: _Optional[_Iterable[_Union[Process, _Mapping]]] = ...) -> None: ...

class Run(_message.Message):
    __slots__ = ("name", "run", "round", "rounds", "state", "model_digest")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    run: str
    round: int
    rounds: int
    state: str
    model_digest: str
    def __init__(self, name: _Optional[str] = ..., run: _Optional[str] = ..., round: _Optional[int] = ..., rounds: _Optional[int] = ..., state: _Optional[str] = ..., model_digest: _Optional[str] = ...) -> None: ...

class Member(_message.Message):
    __slots__ = ("name", "state")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: str
    def __init__(self, name: _Optional[str] = ..., state: _Optional[str] = ...) -> None: ...

class Process(_message.Message):
    __slots__ = ("name", "pid", "restarts")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    pid: int
    restarts: int
    def __init__(self, name: _Optional[str] = ..., pid: _Optional[int] = ..., restarts: _Optional[int] = ...) -> None: ...

class RunRequest(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: str
    def __init__(self, run: _Optional[str] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("run", "place", "follow")
    RUN_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    run: str
    place: int
    follow: bool
    def __init__(self, run: _Optional[str] = ..., place: _Optional[int] = ..., follow: _Optional[bool] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("place", "kind", "json")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    place: int
    kind: str
    json: str
    def __init__(self, place: _Optional[int] = ..., kind: _Optional[str] = ..., json: _Optional[str] = ...) -> None: ...

class VerdictsReply(_message.Message):
    __slots__ = ("run", "verdicts")
    RUN_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    run: str
    verdicts: _containers.RepeatedCompositeFieldContainer[Verdict]
    def __init__(self, run: _Optional[str] = ..., verdicts: _Optional[_Iterable[_Union[Verdict, _Mapping]]] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("round", "verdict", "reason", "detail", "bytes", "weight", "digest", "merged", "manifest", "model_digest")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    MERGED_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    round: int
    verdict: str
    reason: str
    detail: str
    bytes: int
    weight: float
    digest: str
    merged: bool
    manifest: str
    model_digest: str
    def __init__(self, round: _Optional[int] = ..., verdict: _Optional[str] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ..., bytes: _Optional[int] = ..., weight: _Optional[float] = ..., digest: _Optional[str] = ..., merged: _Optional[bool] = ..., manifest: _Optional[str] = ..., model_digest: _Optional[str] = ...) -> None: ...

class SettingsReply(_message.Message):
    __slots__ = ("run", "json")
    RUN_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    run: str
    json: str
    def __init__(self, run: _Optional[str] = ..., json: _Optional[str] = ...) -> None: ...

class ReleasesReply(_message.Message):
    __slots__ = ("run", "releases")
    RUN_FIELD_NUMBER: _ClassVar[int]
    RELEASES_FIELD_NUMBER: _ClassVar[int]
    run: str
    releases: _containers.RepeatedCompositeFieldContainer[Release]
    def __init__(self, run: _Optional[str] = ..., releases: _Optional[_Iterable[_Union[Release, _Mapping]]] = ...) -> None: ...

class Release(_message.Message):
    __slots__ = ("round", "digest", "update", "bytes")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    round: int
    digest: str
    update: str
    bytes: int
    def __init__(self, round: _Optional[int] = ..., digest: _Optional[str] = ..., update: _Optional[str] = ..., bytes: _Optional[int] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("path", "size", "data", "digest")
    PATH_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    path: str
    size: int
    data: bytes
    digest: str
    def __init__(self, path: _Optional[str] = ..., size: _Optional[int] = ..., data: _Optional[bytes] = ..., digest: _Optional[str] = ...) -> None: ...
