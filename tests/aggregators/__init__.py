"""Tests of aggregators."""
