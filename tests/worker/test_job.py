"""How outcomes leave the container, and what the platform is told."""

from __future__ import annotations

from typing import Any

import pytest

from smexec.worker import job, protocol
from smexec.worker.protocol import Event

NAMES = sorted(name for name in vars(protocol) if name.isupper())
PROMPT = "from _smexec_worker import s3; s3.PAUSE = 0"


@pytest.fixture
def online(container: Any, bucket: Any) -> Any:
    """A container that reaches S3."""
    container.environment |= bucket.environment
    container.orders[protocol.ISOLATED] = "false"
    return container


def events(bucket: Any) -> list[tuple[str, bytes]]:
    """Kind and content of each object that was put, in turn."""
    said = []
    for path, _, body in bucket.puts:
        assert path.startswith("/b/events/")
        event = Event.parse(path.removeprefix("/b/events/"))
        assert event is not None
        assert event.job == "smexec-f-abcdefgh-00001"
        said.append((event.kind, body))
    return said


def outcome_in(container: Any, envelope: bytes) -> protocol.Header:
    key = bytes.fromhex(container.orders[protocol.KEY])
    return protocol.unseal(key, "outcome smexec-f-abcdefgh-00001", envelope)[0]


def test_the_start_and_the_outcome_are_told(online: Any, bucket: Any) -> None:
    ended = online.call(abs, -1).run()
    assert (ended.code, ended.outcome, ended.stderr) == (0, None, "")
    (started, nothing), (told, envelope) = events(bucket)
    assert (started, nothing, told) == ("started", b"", "outcome")
    assert outcome_in(online, envelope)["outcome"] == "value"
    times = [path.split("/")[-1] for path, _, _ in bucket.puts]
    assert times == sorted(times)


def test_an_outcome_of_the_workers_own(online: Any, bucket: Any) -> None:
    assert online.envelope([], python="2.99").run().code == 3
    ((kind, envelope),) = events(bucket)  # the call was never started
    assert (kind, outcome_in(online, envelope)["outcome"]) == ("outcome", "python-mismatch")


def test_events_are_encrypted_as_the_client_ordered(online: Any, bucket: Any) -> None:
    online.orders[protocol.SSE_KMS_KEY] = "alias/ours"
    online.call(abs, -1).run()
    keys = [headers["x-amz-server-side-encryption-aws-kms-key-id"] for _, headers, _ in bucket.puts]
    assert keys == ["alias/ours"] * 2


def test_an_outcome_that_s3_takes_at_last(online: Any, bucket: Any) -> None:
    bucket.answers = [200, 500, 503, b"", 500, 503]
    ended = online.call(abs, -1).run(change=PROMPT)
    assert (ended.code, ended.outcome) == (0, None)
    assert [kind for kind, _ in events(bucket)] == ["started"] + ["outcome"] * 6
    assert outcome_in(online, bucket.puts[-1][2])["outcome"] == "value"


def test_an_outcome_that_s3_does_not_take_goes_with_the_output(online: Any, bucket: Any) -> None:
    bucket.answers = [200, 403]
    ended = online.call(abs, -1).run()
    assert (ended.code, ended.value) == (0, 1)
    assert "PUT s3://b/events/" in ended.stderr
    assert "403 Forbidden: <Code>Said</Code>" in ended.stderr


def test_where_the_start_was_refused_the_outcome_is_not_tried(online: Any, bucket: Any) -> None:
    bucket.answers = [403]
    ended = online.call(abs, -1).run()
    assert (ended.code, ended.value) == (0, 1)
    assert len(bucket.puts) == 1


def test_a_hiccup_at_the_start_does_not_cost_the_outcome_its_way(online: Any, bucket: Any) -> None:
    bucket.answers = [503, 503]
    ended = online.call(abs, -1).run(change=PROMPT)
    assert (ended.code, ended.outcome) == (0, None)
    assert [kind for kind, _ in events(bucket)] == ["started", "started", "outcome"]


def test_without_a_way_to_s3_everything_goes_with_the_output(container: Any) -> None:
    container.orders[protocol.ISOLATED] = "false"
    container.environment["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
    ended = container.call(abs, -1).run(change=PROMPT)
    assert (ended.code, ended.value) == (0, 1)
    assert "no credentials" in ended.stderr


def test_under_isolation_nothing_is_tried(container: Any, bucket: Any) -> None:
    container.environment |= bucket.environment
    ended = container.call(abs, -1).run()
    assert (ended.value, ended.stderr) == (1, "")
    assert bucket.puts == []
    assert bucket.asked == []


def test_a_large_outcome(online: Any, bucket: Any) -> None:
    online.call(bytes, 10_000_000).run()
    _, (_, envelope) = events(bucket)
    key = bytes.fromhex(online.orders[protocol.KEY])
    _, (pickled, *_) = protocol.unseal(key, "outcome smexec-f-abcdefgh-00001", envelope)
    assert pickled.nbytes > 10_000_000


def test_no_failure_ever_looks_like_a_success() -> None:
    """Whatever is no value ends with a code of its own, so that the service says Failed or Stopped."""
    outcomes = {
        protocol.RAISED: 1,
        protocol.RAISED_UNPICKLABLE: 1,
        protocol.VALUE_UNPICKLABLE: 1,
        protocol.UNREADABLE: 1,
        protocol.MISSING_MODULE: 1,
        protocol.EXITED: 1,
        protocol.INTERRUPTED: 1,
        protocol.DIED: 2,
        protocol.KILLED: 2,
        protocol.OUT_OF_MEMORY: 2,
        protocol.PYTHON_MISMATCH: 3,
        protocol.BAD_SIGNATURE: 3,
        protocol.STOPPED: 143,
        protocol.VALUE: 0,
    }
    assert {outcome: job.exit_code(outcome) for outcome in outcomes} == outcomes
    assert job.exit_code("of a later version") != 0


def test_the_reason_begins_with_the_exception_and_ends_with_the_traceback() -> None:
    trace = "Traceback (most recent call last):\n" + "  File\n" * 500 + "ValueError: too large\n"
    text = job.failure_text({"type": "ValueError", "message": "too large", "traceback": trace})
    assert len(text) == 1024
    assert text.startswith("ValueError: too large\n")
    assert text.endswith(trace[-900:])


def test_a_long_message_leaves_room_for_the_traceback() -> None:
    text = job.failure_text({"type": "E", "message": "m" * 5000, "traceback": "t" * 5000})
    assert (text.count("m"), text.count("t")) == (509, 511)


def test_the_reason_of_what_has_no_traceback() -> None:
    assert job.failure_text({"message": "killed"}) == "killed"
