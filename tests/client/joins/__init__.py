"""The institution's side of a deployment."""
