"""Tests of what weighs a run: before it, after it, and among its like."""
