"""The status service on gRPC: its methods, limits, and both ends' credentials."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from . import status_pb2 as messages

SERVICE = "fedelta.status.v1.Status"
CHUNK = 1 << 20
"""Bytes of a file in one message."""
OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.max_send_message_length", 4 << 20),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
)
SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", 64 << 10),  # questions are short
    ("grpc.max_send_message_length", 4 << 20),
    ("grpc.max_concurrent_streams", 16),
    ("grpc.max_metadata_size", 8 << 10),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.so_reuseport", 0),
)
DEADLINE = 20.0
"""Seconds that a question with one answer may take."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the service.

    Attributes:
        request: its message.
        reply: its message.
        streams: whether it answers with many.
    """

    request: Any
    reply: Any
    streams: bool = False


METHODS = {
    "Overview": Method(messages.OverviewRequest, messages.OverviewReply),
    "Watch": Method(messages.WatchRequest, messages.Event, streams=True),
    "Verdicts": Method(messages.RunRequest, messages.VerdictsReply),
    "Releases": Method(messages.RunRequest, messages.ReleasesReply),
    "Settings": Method(messages.RunRequest, messages.SettingsReply),
    "Pull": Method(messages.RunRequest, messages.Chunk, streams=True),
}


class Servicer(Protocol):
    """What answers: each method of the service by its name in small letters."""

    def overview(self, request: Any, context: Any) -> Any: ...  # noqa: D102
    def watch(self, request: Any, context: Any) -> Iterator[Any]: ...  # noqa: D102
    def verdicts(self, request: Any, context: Any) -> Any: ...  # noqa: D102
    def releases(self, request: Any, context: Any) -> Any: ...  # noqa: D102
    def settings(self, request: Any, context: Any) -> Any: ...  # noqa: D102
    def pull(self, request: Any, context: Any) -> Iterator[Any]: ...  # noqa: D102


def handlers(servicer: Servicer) -> Any:
    """The handlers that gRPC wants for a servicer."""
    made = {}
    for name, method in METHODS.items():
        make = (
            grpc.unary_stream_rpc_method_handler
            if method.streams
            else grpc.unary_unary_rpc_method_handler
        )
        made[name] = make(
            getattr(servicer, name.lower()),
            request_deserializer=method.request.FromString,
            response_serializer=method.reply.SerializeToString,
        )
    return grpc.method_handlers_generic_handler(SERVICE, made)


def question(channel: Any, name: str) -> Callable[..., Any]:
    """A method of the service, as a client calls it."""
    method = METHODS[name]
    make = channel.unary_stream if method.streams else channel.unary_unary
    found: Callable[..., Any] = make(
        f"/{SERVICE}/{name}",
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.reply.FromString,
    )
    return found


def channel(
    address: str, authority: bytes, key: bytes, certificate: bytes, name: str = ""
) -> Any:
    """A channel on which both sides show a certificate of the federation's CA.

    Args:
        address: host and port.
        authority: the CA's certificate (PEM).
        key: the caller's private key (PKCS #8 PEM).
        certificate: the caller's certificate (PEM).
        name: what the server's certificate must name; empty: the address.
    """
    credentials = grpc.ssl_channel_credentials(authority, key, certificate)
    named = (("grpc.ssl_target_name_override", name),) if name else ()
    return grpc.secure_channel(address, credentials, (*OPTIONS, *named))


def server_credentials(authority: bytes, key: bytes, certificate: bytes) -> Any:
    """Credentials of a server that only talks to callers whom the CA knows."""
    return grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=authority, require_client_auth=True
    )
