"""The coordinator's side: configuration, rounds, the journal and the report."""
