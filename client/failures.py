"""What a client says when something went wrong: never anything of its data.

The text of an exception may quote a row, a path or a token. Only messages that this
project wrote for the server's eyes travel; of everything else the type does. The
whole story goes to the client's own log.
"""

import logging
from typing import TYPE_CHECKING

from ..protocols.aborts import AbortError
from ..protocols.errors import ContributionError

if TYPE_CHECKING:
    from flwr.app import Message

LOG = logging.getLogger("fedelta.client")
CODE = 1001
"""The error code of our replies; Flower's own are small."""
OWN_LOG = "this client's own log"
"""Where it says that the whole story is."""


def public_reason(error: BaseException) -> str:
    """What may be told about an error.

    Example:
        >>> public_reason(KeyError("a patient's name"))
        "KeyError: see this client's own log"
    """
    if isinstance(error, ContributionError | AbortError):
        return f"{type(error).__name__}: {error}"
    return f"{type(error).__name__}: see {OWN_LOG}"


def error_reply(message: "Message", error: Exception) -> "Message":
    """An error in answer to a message; logs the whole of it here."""
    from flwr.app import Error, Message

    LOG.error("could not answer a message", exc_info=error)
    return Message(Error(CODE, public_reason(error)), reply_to=message)
