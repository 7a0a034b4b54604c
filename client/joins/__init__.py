"""What an institution runs to take part in a federation: key, checks, node, status."""
