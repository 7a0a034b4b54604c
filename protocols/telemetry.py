"""Flower asks its environment whether it may call home: unless told otherwise, no.

This folder's first import; `messages` sees to it that a Flower which was imported
before knows as well.
"""

import os

QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}

for _name, _value in QUIET.items():
    os.environ.setdefault(_name, _value)
