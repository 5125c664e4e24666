"""The hosts of one job, each a worker of its own: none costs another's calls anything."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from smexec.worker import peers, protocol
from smexec.worker.container import End, Hosts, Orders
from smexec.worker.signals import Signals
from tests.worker.conftest import JOB, KEY, Container, Ended

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere loopback is one address")

Cluster = Callable[[int], list[Container]]


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.01)


def value(x: Any) -> Any:
    return x


def after(path: Path, then: Any) -> Any:
    """Once the file is there."""
    wait_for(path)
    if isinstance(then, Exception):
        raise then
    return then


def run(hosts: list[Container], function: Callable[..., Any], over: list[Any], **how: Any) -> list[Ended]:
    """A job, from the start of all its hosts to their ends."""
    started = [host.map(function, over).start(**how) for host in hosts]
    return [host.gather(process) for host, process in zip(hosts, started, strict=True)]


def start(hosts: list[Container], calls: list[Any], **how: Any) -> list[Any]:
    """The processes of a job that is running. Each call is a function and its arguments."""
    packed: list[Any] = [(function, arguments, {}) for function, *arguments in calls]
    return [host.calls(packed).start(**how) for host in hosts]


def out(host: Container, number: int) -> Path:
    """The file of some news, as they leave."""
    return host.opt_ml / "output" / "data" / protocol.OUTPUT_FOLDER / str(number)


# -- dividing ------------------------------------------------------------------------------------------------


def test_hosts_divide_the_calls(cluster: Cluster) -> None:
    ended = run(cluster(3), value, list(range(8)))
    assert [one.code for one in ended] == [0, 0, 0]
    assert [one.values for one in ended] == [{x: x for x in range(host, 8, 3)} for host in range(3)]
    assert [one.stderr for one in ended] == [""] * 3


def test_no_two_give_the_same_number(cluster: Cluster) -> None:
    hosts = cluster(2)
    run(hosts, value, list(range(4)), change="post.SOONEST = 0")
    files = [{path.name for path in out(host, 0).parent.iterdir()} for host in hosts]
    assert all(files)
    assert not files[0] & files[1]


def test_a_host_without_calls(cluster: Cluster) -> None:
    ended = run(cluster(3), value, [7])
    assert [one.values for one in ended] == [{0: 7}, {}, {}]
    assert [one.code for one in ended] == [0, 0, 0]


def test_a_single_host_has_no_use_for_the_module(cluster: Cluster, container: Any) -> None:
    def has_it() -> bool:
        return "_smexec_worker.peers" in sys.modules

    assert container.call(has_it).run().value is False
    assert [one.values for one in run(cluster(2), lambda _: has_it(), [0, 1])] == [{0: True}, {1: True}]


# -- ends ----------------------------------------------------------------------------------------------------


def test_a_host_with_a_failure_leaves_it_to_the_first(cluster: Cluster, tmp_path: Path) -> None:
    hosts = cluster(2)
    first, second = start(hosts, [(after, tmp_path / "go", 1), (after, tmp_path, ValueError("bad"))])
    assert hosts[1].gather(second).code == 0
    (tmp_path / "go").touch()
    ended = hosts[0].gather(first)
    assert (ended.code, ended.values) == (1, {0: 1})
    assert ended.failure is not None
    assert ended.failure.startswith("algo-2: ValueError: bad\n")


def test_the_first_waits_for_the_others(cluster: Cluster, tmp_path: Path) -> None:
    hosts = cluster(3)
    late = (after, hosts[0].opt_ml / "output" / "failure", 1)  # the first host's calls have ended
    processes = start(hosts, [(after, tmp_path, KeyError("own")), late, late])
    ended = [host.gather(process) for host, process in zip(hosts, processes, strict=True)]
    assert [one.code for one in ended] == [1, 0, 0]
    assert [one.kinds for one in ended] == [{0: "raised"}, {1: "value"}, {2: "value"}]
    assert ended[0].failure is not None
    assert ended[0].failure.startswith("KeyError: 'own'")


def test_the_worst_code_is_the_jobs(cluster: Cluster, tmp_path: Path) -> None:
    ended = run(cluster(2), lambda x: x and os._exit(x), [0, 7])
    assert [one.code for one in ended] == [2, 0]
    assert ended[0].failure == "algo-2: the call's process ended by itself with exit code 7"


def test_if_the_first_is_killed_the_others_still_deliver(cluster: Cluster, tmp_path: Path) -> None:
    hosts = cluster(2)
    first, second = start(hosts, [(after, tmp_path / "never", 1), (after, tmp_path / "go", 2)])
    wait_for(out(hosts[1], 1))  # its call has started
    first.kill()
    first.wait()
    (tmp_path / "go").touch()
    ended = hosts[1].gather(second)
    assert (ended.code, ended.values) == (0, {1: 2})
    (tmp_path / "never").touch()


def test_if_another_is_killed_the_first_does_not_wait_for_it(cluster: Cluster, tmp_path: Path) -> None:
    hosts = cluster(2)
    first, second = start(hosts, [(after, tmp_path / "go", 1), (after, tmp_path / "never", 2)])
    wait_for(out(hosts[1], 1))
    second.kill()
    (tmp_path / "go").touch()
    ended = hosts[0].gather(first)
    assert (ended.code, ended.values) == (0, {0: 1})
    (tmp_path / "never").touch()


def test_a_stop_ends_the_waiting(cluster: Cluster, tmp_path: Path) -> None:
    hosts = cluster(2)
    calls = [(value, 1), (after, tmp_path / "never", 2)]
    first, second = start(hosts, calls, change="post.SOONEST = 0")
    for number in itertools.count():  # the first host's end may have travelled with its start
        wait_for(out(hosts[0], 2 * number))
        if hosts[0].news().ended:
            break
    wait_for(out(hosts[1], 1))
    for process in (first, second):
        process.send_signal(signal.SIGTERM)
    ended = hosts[0].gather(first)
    assert (ended.code, ended.values) == (0, {0: 1})
    stopped = hosts[1].gather(second)
    assert (stopped.outcome or {})["outcome"] == "stopped"
    assert (stopped.outcome or {})["host"] == 1


# -- hosts that do not meet ----------------------------------------------------------------------------------


def test_a_host_that_never_comes_is_not_waited_for(cluster: Cluster) -> None:
    first, _ = cluster(2)
    ended = first.map(value, [1, 2]).run(change="peers.PATIENCE = 0.2")
    assert (ended.code, ended.values) == (0, {0: 1})


def test_without_the_first_a_failure_costs_the_others_nothing(cluster: Cluster) -> None:
    _, second = cluster(2)
    ended = second.map(divmod_by, [1, 0]).run(change="peers.PATIENCE = 0.2")
    assert (ended.code, ended.kinds) == (0, {1: "raised"})
    assert f"do not meet at port {peers.PORT} of algo-1: " in ended.stderr


def divmod_by(x: int) -> Any:
    return divmod(1, x)


def test_a_port_that_is_taken(cluster: Cluster) -> None:
    first, _ = cluster(2)
    address = json.loads(first.environment[protocol.HOSTS_VARIABLE])["algo-1"]
    with socket.create_server((address, peers.PORT)):
        ended = first.map(divmod_by, [0, 1]).run()
    assert (ended.code, ended.kinds) == (0, {0: "raised"})
    assert "Address already in use" in ended.stderr


def test_a_stop_ends_the_search_for_the_first(cluster: Cluster) -> None:
    _, second = cluster(2)
    say = "real = peers._connected; peers._connected = lambda *a: (print('up', flush=True), real(*a))[1]"
    process: Any = second.map(value, [1, 2]).start(change=say)
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    assert (second.gather(process).outcome or {})["outcome"] == "stopped"


# -- who is heard --------------------------------------------------------------------------------------------


def test_calls_do_not_hold_the_connections(cluster: Cluster) -> None:
    def ports(_: Any) -> set[int]:
        found = set()
        for descriptor in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208  # a list, before it changes
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as one:
                if one.family == socket.AF_INET:
                    found.add(one.getsockname()[1])
        return found

    if not Path("/proc/self/fd").exists():
        pytest.skip("no /proc")
    assert [one.values for one in run(cluster(2), ports, [0, 1])] == [{0: set()}, {1: set()}]


@pytest.fixture
def signals() -> Iterator[Signals]:
    with Signals() as signals:
        yield signals


def orders(cluster: Cluster, index: int, key: bytes = KEY, job: str = JOB) -> Orders:
    host = cluster(1)[0]
    first = json.loads(host.environment[protocol.HOSTS_VARIABLE])["algo-1"]
    return Orders(job, key, "s3://b/", None, isolated=True, hosts=Hosts(["algo-1", "algo-2"], index, first))


def told(at: Orders, signals: Signals, **who: Any) -> Any:
    """What a host says that does not belong to the job, or does."""
    other = at._replace(hosts=at.hosts._replace(position=1), **who)
    peer = peers.Follower(other, peers._connected(at.hosts.first, signals))
    return peer.end(End(9, "told"), signals)


@pytest.mark.parametrize("who", [{"key": b"another"}, {"job": "another"}])
def test_who_cannot_sign_is_not_heard(
    cluster: Cluster, signals: Signals, who: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = orders(cluster, 0)
    monkeypatch.setattr(peers, "PATIENCE", 0.2)
    leader = peers.Leader(at)
    told(at, signals, **who)
    assert leader.end(End(0, None), signals) == End(0, None)


@pytest.mark.parametrize("stray", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\1x", b"\xff" * 100_000])
def test_strays_neither_end_the_waiting_nor_prolong_it(
    cluster: Cluster, signals: Signals, stray: bytes
) -> None:
    at = orders(cluster, 0)
    leader = peers.Leader(at)
    with socket.create_connection((at.hosts.first, peers.PORT)) as one:
        one.sendall(stray)
        assert told(at, signals) == End(0, "told")
        assert leader.end(End(0, None), signals) == End(9, "algo-2: told")


def test_a_word_that_comes_in_pieces(cluster: Cluster, signals: Signals) -> None:
    at = orders(cluster, 0)
    leader = peers.Leader(at)
    caller = peers._connected(at.hosts.first, signals)

    class Slow:
        """Sends byte by byte."""

        def sendall(self, message: bytes) -> None:
            for position in range(len(message)):
                caller.sendall(message[position : position + 1])

        def close(self) -> None:
            caller.close()

    slow: Any = Slow()
    follower = peers.Follower(at._replace(hosts=at.hosts._replace(position=1)), slow)
    follower.end(End(1, "é" * 1024), signals)
    assert leader.end(End(0, "own"), signals) == End(1, "own")


def test_the_worst() -> None:
    assert peers.worst([End(0, None), End(2, "b"), End(1, "c")]) == End(2, "b")
    assert peers.worst([End(0, None)]) == End(0, None)
