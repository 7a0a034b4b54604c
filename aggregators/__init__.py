"""Merging: transform, sum, read. Arithmetic only; no transport, no framework."""
