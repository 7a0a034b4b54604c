"""Workers: frames over real pipes, and clients that raise."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from hypothesis import given, settings
from hypothesis import strategies as st

from fedelta.client import models
from fedelta.client.worker import Job, handle, read_frame, serve, write_frame
from fedelta.protocols import messages
from fedelta.protocols.settings import Config

from . import rounds


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=5))
def test_frames_come_back(frames: list[bytes]) -> None:
    stream = io.BytesIO()
    for frame in frames:
        write_frame(stream, frame)
    stream.seek(0)
    assert [read_frame(stream) for _ in frames] == frames
    assert read_frame(stream) is None


@pytest.mark.parametrize("data", [b"\x05", b"\x05" + bytes(7) + b"abc", b"\xff" * 8])
def test_broken_streams_end(data: bytes) -> None:
    with pytest.raises(EOFError):
        read_frame(io.BytesIO(data))
    whole = io.BytesIO()
    write_frame(whole, Job(1, 2).to_json())
    with pytest.raises(EOFError, match="without its message"):
        serve(io.BytesIO(whole.getvalue()), io.BytesIO())


def test_a_worker_process_answers_as_we_do(
    base: models.Base, config: Config, tmp_path: Path
) -> None:
    asked = rounds.plan(base, config)
    content = messages.plan_content(asked, [])
    data = rounds.sent(content)
    here = messages.from_bytes(handle(rounds.job(config, tmp_path / "here"), data))
    with subprocess.Popen(
        [sys.executable, "-m", "fedelta.client.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        replies = []
        for kind in ("train", "query", "train.nonsense"):
            write_frame(process.stdin, rounds.job(config, tmp_path / "there").to_json())
            write_frame(process.stdin, rounds.sent(content, kind))
            answer = read_frame(process.stdout)
            assert answer is not None
            replies.append(messages.from_bytes(answer))
        process.stdin.close()
        assert process.wait(20) == 0
    there, asked_back, nonsense = replies
    assert messages.read_reply(there.content)[0] == messages.read_reply(here.content)[0]  # type: ignore[index]
    said = messages.read_metrics(asked_back.content)
    assert isinstance(said, dict)
    assert said["base"] == base.digest
    assert nonsense.error.reason == "ValueError: see this client's own log"


def test_another_app_can_run_and_fail() -> None:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        raise OSError("the disk of /home/someone")

    data = handle(Job(1, 7), rounds.sent(RecordDict()), app)
    reply = messages.from_bytes(data)
    assert reply.error.reason == "OSError: see this client's own log"
    assert reply.metadata.reply_to_message_id == "m1"
