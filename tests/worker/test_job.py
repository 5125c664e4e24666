"""How outcomes leave the container, and what the platform is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.worker import job, protocol, todo
from smexec.worker.protocol import Event
from tests.worker.conftest import JOB, KEY, News

NAMES = sorted(name for name in vars(protocol) if name.isupper())
PROMPT = "from _smexec_worker import s3; s3.PAUSE = 0"
PATIENT = "post.SOONEST = post.LATEST = 1000"


@pytest.fixture
def online(container: Any, bucket: Any) -> Any:
    """A container that reaches S3, and takes no PUT for late, however long it takes on this machine."""
    container.environment |= bucket.environment
    container.orders[protocol.ISOLATED] = "false"
    container.changes.append("post.LATE_AFTER = 1000")
    return container


def events(bucket: Any) -> list[tuple[Event, bytes]]:
    """What S3 took, in turn."""
    taken = []
    for path, body in bucket.taken:
        assert path.startswith("/b/events/")
        event = Event.parse(path.removeprefix("/b/events/"))
        assert event is not None
        assert event.job == JOB
        taken.append((event, body))
    return taken


def news(bucket: Any) -> News:
    """What S3 took, opened."""
    return News((event.number, body) for event, body in events(bucket))


def test_the_start_and_the_outcome_are_told(online: Any, bucket: Any) -> None:
    ended = online.call(abs, -1).run()
    assert (ended.code, ended.outcome, ended.stderr) == (0, None, "")
    told = news(bucket)
    assert (told.started, told.ended[0].value) == ([0], 1)
    put = [event for event, _ in events(bucket)]
    assert [event.number for event in put] == list(range(len(put)))
    assert [event.name for event in put] == sorted(event.name for event in put)


def test_the_start_does_not_wait_for_the_end(online: Any, bucket: Any) -> None:
    """The first object goes at once, whatever the interval is."""
    online.call(wait_for, bucket.url).run(change=PATIENT)
    first, last = events(bucket)
    assert (News([(0, first[1])]).started, News([(1, last[1])]).ended[0].value) == ([0], 200)


def wait_for(url: str) -> int:
    """Return once the first object has come: what is told of the end travels in another."""
    import urllib.request

    with urllib.request.urlopen(url + "/first", timeout=60) as answer:
        return int(answer.status)


def test_many_small_outcomes_travel_together(online: Any, bucket: Any) -> None:
    calls: list[Any] = [(wait_for, (bucket.url,), {}), *((abs, (-call,), {}) for call in range(1, 300))]
    online.calls(calls, slots=2).run(change=PATIENT)
    told = news(bucket)
    values = {call: said.value for call, said in told.ended.items()}
    assert values == {0: 200, **{call: call for call in range(1, 300)}}
    assert sorted(told.started) == list(range(300))
    assert len(bucket.puts) == 2  # at once, and at the end


def test_large_outcomes_have_objects_of_their_own(online: Any, bucket: Any) -> None:
    online.map(bytes, [5_000_000] * 3 + [1], slots=1).run(change=PATIENT)
    assert {call: len(said.value) for call, said in news(bucket).ended.items()} == {
        0: 5_000_000,
        1: 5_000_000,
        2: 5_000_000,
        3: 1,
    }
    per_object = [list(News([(event.number, body)]).ended) for event, body in events(bucket)]
    large = [
        calls for (_, body), calls in zip(events(bucket), per_object, strict=True) if len(body) > 4_000_000
    ]
    assert large == [[0], [1], [2]]


def test_an_outcome_of_the_workers_own(online: Any, bucket: Any) -> None:
    assert online.pickled(b"", b"", python="2.99").run().code == 3
    told = news(bucket)
    assert told.started == []  # no call was
    assert {call: said.header["outcome"] for call, said in told.ended.items()} == {-1: "python-mismatch"}


def test_events_are_encrypted_as_the_client_ordered(online: Any, bucket: Any) -> None:
    online.orders[protocol.SSE_KMS_KEY] = "alias/ours"
    online.call(wait_for, bucket.url).run()
    keys = [headers["x-amz-server-side-encryption-aws-kms-key-id"] for _, headers, _ in bucket.puts]
    assert set(keys) == {"alias/ours"}
    assert len(keys) == 2


def test_an_outcome_that_s3_takes_at_last(online: Any, bucket: Any) -> None:
    bucket.answers = [200, 500, 503, b"", 500]
    ended = online.call(wait_for, bucket.url).run(change=PROMPT)
    assert (ended.code, ended.outcome) == (0, None)
    assert len(bucket.puts) == 1 + 5
    assert news(bucket).ended[0].value == 200


def test_an_outcome_that_s3_does_not_take_goes_with_the_output(online: Any, bucket: Any) -> None:
    bucket.answers = [200, 403]
    ended = online.call(wait_for, bucket.url).run()
    assert (ended.code, ended.value) == (0, 200)
    assert "PUT s3://b/events/" in ended.stderr
    assert "403 Forbidden: <Code>Said</Code>" in ended.stderr


def test_where_the_start_was_refused_the_outcome_is_not_tried(online: Any, bucket: Any) -> None:
    bucket.answers = [403]
    ended = online.call(wait_for, bucket.url).run()
    assert (ended.code, ended.value) == (0, 200)
    assert len(bucket.puts) == 1


def test_a_hiccup_at_the_start_does_not_cost_the_outcome_its_way(online: Any, bucket: Any) -> None:
    bucket.answers = [503] * 5
    ended = online.call(wait_for, bucket.url).run(change=PROMPT)
    assert (ended.code, ended.outcome, ended.news.started) == (0, None, [0])  # the start went with the output
    assert news(bucket).ended[0].value == 200


@pytest.mark.parametrize("hiccup", [503, 403, b""])
def test_a_hiccup_on_the_way_costs_the_rest_nothing(online: Any, bucket: Any, hiccup: Any) -> None:
    """What S3 did not take goes with the output; what comes later goes by S3 again."""
    calls = online.map(bytes, [5_000_000] * 3, slots=1)
    bucket.answers = [200] + [hiccup] * (1 if hiccup == 403 else 5)
    ended = calls.run(change=f"{PROMPT}; {PATIENT}")
    by_s3 = news(bucket)
    assert ended.code == 0
    assert {**ended.kinds, **dict.fromkeys(by_s3.ended, "value")} == dict.fromkeys(range(3), "value")
    assert len(ended.kinds) == 1
    assert len(by_s3.ended) == 2


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


def test_under_isolation_news_lie_in_numbered_files(container: Any) -> None:
    ended = container.map(bytes, [5_000_000] * 2, slots=1).run(change=PATIENT)
    folder = container.opt_ml / "output" / "data" / "smexec"
    assert sorted(path.name for path in folder.iterdir()) == [str(number) for number in range(4)]
    assert {call: len(value) for call, value in ended.values.items()} == {0: 5_000_000, 1: 5_000_000}


def test_what_cannot_leave_is_no_success(container: Any) -> None:
    output = container.opt_ml / "output" / "data"
    output.parent.mkdir(parents=True)
    output.write_text("in the way of the folder")
    ended = container.call(abs, -1).run()
    assert ended.code == 1
    assert ended.failure.startswith("smexec: the worker failed: ")


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
        protocol.TIMED_OUT: 2,
        protocol.STOPPED: 143,
        protocol.VALUE: 0,
    }
    stated = {value for name, value in vars(protocol).items() if name in NAMES and value in outcomes}
    assert stated == set(outcomes)
    alone = {outcome: job.exit_code({0: {"outcome": outcome}}) for outcome in outcomes}
    assert alone == {**outcomes, protocol.PYTHON_MISMATCH: 1, protocol.BAD_SIGNATURE: 1}  # refused before
    assert job.exit_code({0: {"outcome": "of a later version"}}) != 0


@given(
    st.lists(st.sampled_from([protocol.VALUE, protocol.RAISED, protocol.DIED, protocol.STOPPED]), min_size=1)
)
def test_one_failure_among_many_shows(kinds: list[str]) -> None:
    outcomes = {call: {"outcome": kind, "message": f"call {call}"} for call, kind in enumerate(kinds)}
    failed = [call for call, kind in enumerate(kinds) if kind != protocol.VALUE]
    text = job.failure(outcomes)
    assert (job.exit_code(outcomes) == 0) == (text is None) == (not failed)
    if failed:
        assert text is not None
        assert f"call {failed[0]}" in text
        assert (f"{len(failed)} of {len(kinds)} calls" in text) == (len(kinds) > 1)


def failure_of(header: protocol.Header) -> str:
    text = job.failure({0: {"outcome": protocol.RAISED, **header}})
    assert text is not None
    return text


def test_the_reason_begins_with_the_exception_and_ends_with_the_traceback() -> None:
    trace = "Traceback (most recent call last):\n" + "  File\n" * 500 + "ValueError: too large\n"
    text = failure_of({"type": "ValueError", "message": "too large", "traceback": trace})
    assert len(text) == 1024
    assert text.startswith("ValueError: too large\n")
    assert text.endswith(trace[-900:])


def test_a_long_message_leaves_room_for_the_traceback() -> None:
    text = failure_of({"type": "E", "message": "m" * 5000, "traceback": "t" * 5000})
    assert (text.count("m"), text.count("t")) == (509, 511)


def test_the_reason_of_what_has_no_traceback() -> None:
    assert failure_of({"message": "killed"}) == "killed"


# -- started again -------------------------------------------------------------------------------------------


@pytest.fixture
def kept(online: Any) -> Any:
    """A container whose checkpoints outlive it."""
    (online.opt_ml / "checkpoints").mkdir(parents=True)
    return online


def wait_the_first_time(number: int, checkpoints: Path, marker: Path) -> int:
    """Call 1 waits until the outcome of the one before is out, and then for its end."""
    import signal
    import time

    if number == 1 and not marker.exists():
        marker.touch()
        while not any(path.stat().st_size for path in checkpoints.glob("smexec/*")):
            time.sleep(0.01)
        print("waiting", flush=True)
        signal.pause()
    return number


def test_a_container_that_is_started_again_runs_what_is_not_out(
    kept: Any, bucket: Any, tmp_path: Path
) -> None:
    arguments = (kept.opt_ml / "checkpoints", tmp_path / "waited")
    kept.calls([(wait_the_first_time, (number, *arguments), {}) for number in range(3)], slots=1)
    process = kept.start()
    assert process.stdout.readline() == "waiting\n"
    process.terminate()
    assert kept.gather(process).code == protocol.EXIT_STOPPED
    stopped = news(bucket).ended
    assert {call: told.header["outcome"] for call, told in stopped.items()} == {
        0: protocol.VALUE,
        protocol.ALL_CALLS: protocol.STOPPED,
    }
    bucket.taken.clear()
    assert kept.run().code == protocol.EXIT_OK
    assert {call: told.value for call, told in news(bucket).ended.items()} == {1: 1, 2: 2}
    bucket.taken.clear()
    assert kept.run().code == protocol.EXIT_OK  # with nothing left to do
    assert bucket.taken == []


def test_what_did_not_reach_s3_is_not_noted(kept: Any, bucket: Any) -> None:
    bucket.answers = [403] * 10
    assert kept.map(abs, [-1, -2]).run().code == protocol.EXIT_OK
    assert not (kept.opt_ml / "checkpoints" / "smexec").exists()


def test_a_job_runs_what_it_is_told_to_of_the_batch_of_another(online: Any, bucket: Any) -> None:
    online.map(abs, [-1, -2, -3, -4])
    purpose = protocol.batch_purpose("the-first-job")
    path = online.opt_ml / "input" / "data" / protocol.BATCH_CHANNEL / protocol.BATCH_FILE
    header, sections = protocol.unseal(KEY, protocol.batch_purpose(JOB), path.read_bytes())
    online.envelope(protocol.seal(KEY, purpose, protocol.encode_body(header, sections)))
    online.orders[protocol.TODO] = todo.write(KEY, JOB, "the-first-job", [1, 3])
    assert online.run().code == protocol.EXIT_OK
    assert {call: told.value for call, told in news(bucket).ended.items()} == {1: 2, 3: 4}


def test_a_todo_of_another_job_is_refused(online: Any, bucket: Any) -> None:
    online.map(abs, [-1, -2])
    online.orders[protocol.TODO] = todo.write(KEY, "another-job", JOB, [1])
    assert online.run().code == protocol.EXIT_REFUSED
    (told,) = news(bucket).ended.values()
    assert told.header["outcome"] == protocol.BAD_SIGNATURE
