from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.core.jobtype import TRAINING
from smexec.core.lifecycle import (
    Action,
    CallStarted,
    Do,
    Job,
    NewsWritten,
    Observation,
    Phase,
    ReadNews,
    StatusSeen,
    StopReported,
    StopWanted,
    advance,
)


def status(primary: str, secondary: str) -> StatusSeen:
    """What a list shows of a Training Job."""
    return StatusSeen(TRAINING.phase({"TrainingJobStatus": primary, "SecondaryStatus": secondary}))


STATUSES = [
    ("InProgress", "Starting"),
    ("InProgress", "Pending"),
    ("InProgress", "Downloading"),
    ("InProgress", "Training"),
    ("InProgress", "Interrupted"),
    ("InProgress", "Uploading"),
    ("Stopping", "Stopping"),
    ("Completed", "Completed"),
    ("Failed", "Failed"),
    ("Stopped", "Stopped"),
    ("Stopped", "MaxRuntimeExceeded"),
    ("Stopped", "MaxWaitTimeExceeded"),
    ("OfALaterApi", "Whatever"),
    ("InProgress", ""),
]
observations: st.SearchStrategy[Observation] = (
    st.just(CallStarted())
    | st.builds(NewsWritten, st.sampled_from(["s3://b/1", "s3://b/2"]))
    | st.builds(StopReported, st.integers(0, 1))
    | st.just(StopWanted())
    | st.sampled_from([status(*both) for both in STATUSES])
)
histories = st.lists(observations, max_size=30)


def live(history: list[Observation], hosts: int = 1) -> tuple[Job, list[tuple[Observation, Action]]]:
    """A job after all of it, and each action with what led to it."""
    job, done = Job("job", 1.0, hosts=hosts), []
    for seen in history:
        job, actions = advance(job, seen)
        done += [(seen, action) for action in actions]
    return job, done


def actions_of(*history: Observation) -> list[Action]:
    return [action for _, action in live(list(history))[1]]


# -- laws ----------------------------------------------------------------------------------------------------


@given(histories)
def test_a_job_is_marked_as_running_once_at_most(history: list[Observation]) -> None:
    assert actions_of(*history).count(Do.MARK_RUNNING) <= 1


@given(histories)
def test_a_job_is_stopped_once_and_only_if_somebody_wants_it(history: list[Observation]) -> None:
    assert actions_of(*history).count(Do.STOP) == (StopWanted() in history)


@given(histories)
def test_all_news_are_read(history: list[Observation]) -> None:
    read = [action for _, action in live(history)[1] if isinstance(action, ReadNews)]
    assert read == [ReadNews(seen.uri) for seen in history if isinstance(seen, NewsWritten)]


@given(histories)
def test_every_end_that_the_service_states_is_looked_into(history: list[Observation]) -> None:
    """However often it is stated: the first look may have come before the last words did."""
    ends = [seen for seen in history if isinstance(seen, StatusSeen) and seen.phase is Phase.ENDED]
    causes = [seen for seen, action in live(history)[1] if action is Do.INVESTIGATE]
    assert causes == ends


@given(histories)
def test_nothing_makes_us_forget_a_job_or_who_it_is(history: list[Observation]) -> None:
    job, _ = live(history)
    assert (job.name, job.created_at) == ("job", 1.0)


@given(histories)
def test_what_was_learnt_stays(history: list[Observation]) -> None:
    """Whether it ran and whether we asked for its end: neither is ever taken back."""
    job = Job("job", 1.0)
    for seen in history:
        later, _ = advance(job, seen)
        assert later.running >= job.running
        assert later.stop_asked >= job.stop_asked
        job = later


@given(histories)
def test_only_we_conclude_that_it_was_stopped_and_only_after_both_have_said_so(
    history: list[Observation],
) -> None:
    history = [StopReported() if isinstance(seen, StopReported) else seen for seen in history]
    for position, seen in enumerate(history):
        job, _ = live(history[:position])
        concluded = Do.CONCLUDE_STOPPED in advance(job, seen)[1]
        assert concluded == (isinstance(seen, StopReported) and StopWanted() in history[:position])


@given(histories)
def test_of_several_hosts_all_must_have_said_so(history: list[Observation]) -> None:
    for position, seen in enumerate(history):
        job, _ = live(history[:position], hosts=2)
        if Do.CONCLUDE_STOPPED in advance(job, seen)[1]:
            assert StopWanted() in history[:position]
            assert {StopReported(0), StopReported(1)} <= {*history[: position + 1]}


@given(histories, observations)
def test_saying_it_twice_changes_nothing_more(history: list[Observation], seen: Observation) -> None:
    job, _ = live(history)
    once, _ = advance(job, seen)
    assert advance(once, seen)[0] == once


@given(histories)
def test_a_job_that_is_running_was_seen_to_run(history: list[Observation]) -> None:
    ran = CallStarted() in history or any(
        isinstance(seen, StatusSeen) and seen.phase is Phase.RUNNING for seen in history
    )
    assert live(history)[0].running == ran


@given(histories.map(lambda history: [seen for seen in history if seen != StopWanted()]))
def test_an_end_that_nobody_wants_is_never_hurried(history: list[Observation]) -> None:
    assert not {Do.STOP, Do.CONCLUDE_STOPPED} & set(actions_of(*history))


# -- stories -------------------------------------------------------------------------------------------------


def test_a_call_that_returns() -> None:
    assert actions_of(
        status("InProgress", "Starting"),
        CallStarted(),
        status("InProgress", "Training"),
        NewsWritten("s3://b/o"),
        status("Completed", "Completed"),
    ) == [ReadNews("s3://b/o"), Do.INVESTIGATE]


def test_the_status_says_that_it_runs_where_its_events_cannot_come_out() -> None:
    assert actions_of(status("InProgress", "Training")) == [Do.MARK_RUNNING]


def test_a_running_call_that_we_stop() -> None:
    assert actions_of(CallStarted(), StopWanted(), StopReported()) == [
        Do.STOP,
        Do.CONCLUDE_STOPPED,
    ]


def test_a_running_call_on_several_hosts_that_we_stop() -> None:
    history: list[Observation] = [CallStarted(), StopWanted(), StopReported(1), StopReported(1)]
    assert [action for _, action in live(history, hosts=2)[1]] == [Do.STOP]
    job, _ = live(history, hosts=2)
    assert advance(job, StopReported(0))[1] == (Do.CONCLUDE_STOPPED,)


def test_a_job_that_somebody_else_stops_is_looked_into_when_it_has_ended() -> None:
    """Or it was a spot job that is taken away and comes again."""
    assert actions_of(StopReported()) == []
    assert actions_of(StopReported(), status("Stopped", "Stopped")) == [Do.INVESTIGATE]


@pytest.mark.parametrize("again", [CallStarted(), status("InProgress", "Interrupted")])
def test_a_spot_job_that_comes_again_is_not_dying(again: Observation) -> None:
    job, _ = live([CallStarted(), StopReported()])
    assert job.is_dying
    assert not advance(job, again)[0].is_dying


def test_a_job_that_we_stop_is_dying_until_it_is_dead() -> None:
    job, _ = live([StopWanted(), CallStarted(), status("InProgress", "Training")])
    assert job.is_dying


def test_a_stale_status_does_not_undo_what_the_worker_has_said() -> None:
    job, _ = live([CallStarted(), StopReported(), status("InProgress", "Training")])
    assert job.is_dying


@pytest.mark.parametrize("unknown", ["", "OfALaterApi"])
def test_a_status_that_is_unknown_is_no_end(unknown: str) -> None:
    assert actions_of(status(unknown, "")) == []
