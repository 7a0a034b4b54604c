"""What travels between client and server, and what both agreed on."""

from . import telemetry as telemetry
