"""An edge server: a client of the server above it, and the server of those below."""
