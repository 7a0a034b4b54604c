"""Flower asks its environment whether it may call home: unless told otherwise, no.

Importing this is enough, as long as it comes before the first import of flwr.
"""

import os

QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}

for _name, _value in QUIET.items():
    os.environ.setdefault(_name, _value)
