"""The browser that tests look through."""

import subprocess

CHROMIUM = (
    "chromium",
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--hide-scrollbars",
)


def seen(*words: str) -> str:
    """Run it; what it prints."""
    return subprocess.run(
        [*CHROMIUM, *words], check=True, capture_output=True, text=True, timeout=120
    ).stdout
