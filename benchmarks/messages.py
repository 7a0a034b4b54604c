"""What a message costs a SuperLink, over TLS, with keys, behind the proxy, on disk.

A coordinator as `fedelta host up` has it, and nodes that answer at once, each with a
key of its own. Counted is the CPU time of SuperLink's process: it takes one request
after the other, so this is what bounds how many nodes one server can have. A node that
has nothing to do asks every 3 s whether there is something: that is counted too.
"""

import json
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flwr.app import Context, Message, MessageType
from flwr.serverapp import Grid, ServerApp

from fedelta.client.joins import keys
from fedelta.client.joins import layouts as institutions
from fedelta.client.joins.folders import JoinFolder
from fedelta.client.joins.runtimes import UP, state_of
from fedelta.protocols.messages import identify, reply_content
from fedelta.server.hosts import admissions, controls
from fedelta.server.hosts.folders import HostFolder
from fedelta.server.hosts.grids import HostGrid
from fedelta.server.hosts.layouts import Ports, create

NODES, EACH, WARM, POLLS = 4, 25, 5, 400
"""Nodes; messages to each that are counted, and before that; idle questions."""
SIZE = 2000
"""Bytes of a message and of a reply: what is larger takes its line, not SuperLink."""
OVERRIDES = ['data.labels=["a", "b"]']
DONE = "messages.json"
LOOSE = {"requests_per_second = 50": "requests_per_second = 100000"}
"""In host.toml: all nodes are at one address here."""

app = ServerApp()


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU seconds of SuperLink.

    Attributes:
        message: there and back, to one node.
        poll: a node's question whether there is something.
    """

    message: float
    poll: float


def spent(folder: HostFolder) -> float:
    """CPU seconds that SuperLink has used."""
    import os

    pid = state_of(folder.state / UP)["services"]["superlink"]["pid"]
    said = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(said[11]) + int(said[12])) / os.sysconf("SC_CLK_TCK")


@app.main()
def main(grid: Grid, context: Context) -> None:  # noqa: ARG001  Flower's
    """Ask every node many times, and write down what that took."""
    folder = HostFolder.open(Path.cwd())
    hosted = HostGrid(grid, controls.register(folder))

    def ask(turn: int, each: int) -> int:
        content = reply_content(bytes(SIZE), {})
        sent = [
            Message(content, node, MessageType.TRAIN, group_id=str(turn))
            for _ in range(each)
            for node in hosted.nodes.values()
        ]
        return len(list(hosted.send_and_receive(sent, timeout=200)))

    ask(1, WARM)
    before = spent(folder)
    count = ask(2, EACH)
    told = {"seconds": spent(folder) - before, "messages": count}
    (folder.root / DONE).write_text(json.dumps(told))


@dataclass
class Node:
    """An institution's node that does nothing but answer.

    Attributes:
        member: whose.
        stop: it ends when this is set.
        polls: questions without an answer, by whether messages were counted.
    """

    member: JoinFolder
    stop: threading.Event = field(default_factory=threading.Event)
    polls: dict[bool, int] = field(default_factory=lambda: {False: 0, True: 0})
    pause: float = 0.0

    def run(self) -> None:
        """Until told to stop."""
        from flwr.supernode.fleet_http_connection import http_request_response

        key = keys.read_private(self.member.private)
        server, authority = self.member.invitation.server, str(self.member.authority)
        pair, counted = (key, key.public_key()), False
        with http_request_response(server, False, authority, pair) as connection:  # noqa: FBT003  Flower's
            while not self.stop.is_set():
                found = connection[1]()
                if found is None:
                    self.polls[counted] += 1
                    time.sleep(self.pause)
                    continue
                counted = found[0].metadata.group_id == "2"
                self._answer(*found, connection)

    def _answer(self, message: Message, tree: Any, connection: Any) -> None:
        from flwr.supercore.inflatable import inflatable_object as objects
        from flwr.supercore.inflatable import inflatable_utils as pieces

        _, _, send, _, _, pull, push, confirm = connection
        run, name = message.metadata.run_id, message.metadata.message_id
        wanted = [one.object_id for one in objects.iterate_object_tree(tree)]
        pieces.pull_objects(wanted, pull_object_fn=lambda one: pull(run, one))
        confirm(run, name)
        reply = Message(reply_content(bytes(SIZE), {}), reply_to=message)
        reply.metadata.__dict__["_message_id"] = reply.object_id
        held = objects.get_all_nested_objects(reply)
        lacking, session = send(reply, objects.get_object_tree(reply), 0.0)
        for one in lacking:
            push(run, session, one, held[one].deflate())


def measured(root: Path) -> Costs:
    """Bring it all up under a folder and measure."""
    from fedelta.benchmarks.overheads import FEDELTA, Processes
    from fedelta.server.hosts import hosting, launches
    from fedelta.server.runs import load

    hosted, nodes = prepared(root)
    processes = Processes(root, {})
    with ExitStack() as stack:
        stack.callback(processes.end)
        processes.start("host", *FEDELTA, "host", "up", str(hosted.root))
        processes.until(lambda: "nodes may join" in processes.said("host"), "the host")
        hosting.write_launchers(hosted, "fedelta.benchmarks.messages")
        identify(1, 1)
        for one in nodes:
            stack.callback(one.stop.set)
            threading.Thread(target=one.run, daemon=True).start()
        poll = _polled(hosted, nodes, processes)
        launches.start(hosted, launches.hosted(hosted, load(overrides=OVERRIDES)))
        done = hosted.root / DONE
        processes.until(lambda: done.exists() and bool(done.read_text()), "messages")
        told = json.loads(done.read_text())
        idle = sum(one.polls[True] for one in nodes) * poll
    return Costs((told["seconds"] - idle) / told["messages"], poll)


def prepared(root: Path) -> tuple[HostFolder, list[Node]]:
    """Folders, keys, admissions."""
    from fedelta.benchmarks.overheads import ports

    hosted = create(root / "host", "messages", ["127.0.0.1"], Ports(*ports(4)))
    settings = hosted.root / "host.toml"
    text = settings.read_text("utf-8")
    for before, after in LOOSE.items():
        text = text.replace(before, after)
    settings.write_text(text, "utf-8")
    nodes = []
    for at in range(NODES):
        name = f"node-{at}"
        folder = institutions.create(root / name, name, "")
        institutions.accept(folder, admissions.admit(hosted, folder.public, name))
        nodes.append(Node(folder))
    return HostFolder.open(hosted.root), nodes


def _polled(hosted: HostFolder, nodes: list[Node], processes: Any) -> float:
    """CPU seconds of an idle question; from then on nodes ask less often."""

    def asked(more: int) -> bool:
        return sum(one.polls[False] for one in nodes) >= more

    processes.until(lambda: asked(POLLS // 4), "nodes ask")
    count, before = sum(one.polls[False] for one in nodes), spent(hosted)
    processes.until(lambda: asked(count + POLLS), "nodes go on asking")
    count = sum(one.polls[False] for one in nodes) - count
    cost = (spent(hosted) - before) / count
    for one in nodes:
        one.pause = 0.2
    return cost


if __name__ == "__main__":
    from fedelta.server.hosts.tasks import main as run

    run("fedelta.benchmarks.messages")
