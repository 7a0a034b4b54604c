"""What /metrics says, as Prometheus's own parser reads it."""

import urllib.request

from prometheus_client.parser import text_string_to_metric_families

Told = dict[str, dict[tuple[str, ...], float]]


def asked(port: int) -> Told:
    """Ask now: values by name, and by labels, whose names are in alphabetical order."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as said:
        text = said.read().decode()
    found: Told = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found
