"""Whole deployments."""
