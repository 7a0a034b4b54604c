"""`flwr-serverapp` as a region runs it: our edge server, whatever the bundle."""

from ..hosts.tasks import main

if __name__ == "__main__":
    main("fedelta.server.regions.app")
