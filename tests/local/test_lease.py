"""One service per user, with real processes: who starts it, who shares it, and how it ends."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest

from smexec.local import lease as leases
from smexec.local.lease import Place, ServiceUnavailable, control, lease, running, start

GRACE = 0.2
CLIENT = """
import os, sys
from pathlib import Path
from smexec.local import lease as leases
leases.LEASE_GRACE = {grace}
with leases.lease(leases.Place(Path(sys.argv[1]))) as held:
    print(held.endpoint_url, flush=True)
    {then}
"""


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASE_GRACE", GRACE)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path / "place")
    yield place
    assert eventually(lambda: not place.directory.exists()), "the place was not cleared"


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def alive(pid: int) -> bool:
    """Whether the process runs; one that nobody has buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A place where a service runs."""
    place = Place(tmp_path_factory.mktemp("lease") / "place")
    with lease(place):
        yield place
    assert eventually(lambda: not place.directory.exists())


@contextlib.contextmanager
def client(place: Place, then: str = "sys.stdin.read()") -> Iterator[subprocess.Popen[str]]:
    """Another program with a lease."""
    command = [sys.executable, "-c", CLIENT.format(grace=GRACE, then=then), str(place.directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def endpoint(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def pid(place: Place) -> int:
    description = running(place)
    assert description is not None
    number: int = description["pid"]
    return number


class TestSharing:
    def test_another_program_has_the_same(self, shared: Place) -> None:
        with lease(shared) as held, client(shared) as other:
            assert endpoint(other) == held.endpoint_url

    def test_any_aws_client_can_use_it(self, shared: Place) -> None:
        with lease(shared) as held:
            session = boto3.Session(held.access_key, held.secret_key, region_name=held.region)
            buckets = session.client("s3", endpoint_url=held.endpoint_url).list_buckets()["Buckets"]
            assert [bucket["Name"] for bucket in buckets] == [held.bucket]
            assert held.role.startswith("arn:aws:iam::")
            assert held.environment["AWS_ENDPOINT_URL"] == held.endpoint_url

    def test_nobody_else_can_look(self, shared: Place) -> None:
        assert shared.directory.stat().st_mode & 0o777 == 0o700

    def test_what_the_control_api_refuses(self, shared: Place) -> None:
        with lease(shared) as held, pytest.raises(ValueError, match="no POST nonsense"):
            control(held.endpoint_url, "POST", "nonsense")

    def test_those_that_come_at_the_same_time_start_one(self, place: Place) -> None:
        with contextlib.ExitStack() as stack:
            processes = [stack.enter_context(client(place)) for _ in range(4)]
            assert len({endpoint(process) for process in processes}) == 1


class TestEnds:
    def test_with_its_last_lease(self, place: Place) -> None:
        with lease(place) as first:
            number, forgotten = pid(place), lease(place)
            assert forgotten.endpoint_url == first.endpoint_url
        first.close()  # once more
        assert repr(first).endswith("given back>")
        assert running(place)
        del forgotten
        gc.collect()
        assert eventually(lambda: not alive(number))

    def test_but_waits_for_the_next(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(leases, "LEASE_GRACE", 3600.0)
        with lease(place) as first:
            pass
        with lease(place) as second:
            assert second.endpoint_url == first.endpoint_url
            control(second.endpoint_url, "POST", "shutdown")

    def test_with_a_client_that_is_killed(self, place: Place) -> None:
        with client(place) as process:
            endpoint(process)
            number = pid(place)
            process.kill()
            assert eventually(lambda: not alive(number))

    def test_though_a_child_of_its_client_lives_on(self, place: Place) -> None:
        with client(place, "os.fork() and held.close(); sys.stdin.read()") as process:
            endpoint(process)
            number = pid(place)
            assert eventually(lambda: not alive(number))
            assert process.poll() is None

    def test_not_when_it_was_told_to_stay(self, place: Place) -> None:
        with lease(place) as held:
            control(held.endpoint_url, "POST", "keep")
        # More than the grace: what has to be seen is that nothing happens.
        assert not eventually(lambda: not running(place), 3 * GRACE)
        control(held.endpoint_url, "POST", "shutdown")


class TestNothingIsInTheWay:
    def test_a_service_that_was_killed(self, place: Place) -> None:
        with lease(place):
            number = pid(place)
            os.kill(number, signal.SIGKILL)
            assert eventually(lambda: not alive(number))
            assert place.record.exists()
            with lease(place):
                assert pid(place) != number

    def test_another_service_on_the_port_of_one_that_was_killed(self, place: Place, shared: Place) -> None:
        description = shared.read()
        assert description is not None
        with place.locked():
            place.publish(description | {"pid": 1})
        with lease(place) as held:
            assert held.endpoint_url != description["endpoint_url"]

    def test_a_service_that_is_about_to_end(self, place: Place) -> None:
        with lease(place) as held:
            control(held.endpoint_url, "POST", "shutdown")
            with lease(place) as successor:
                assert control(successor.endpoint_url, "GET", "health")["endpoint_url"]


class TestFailures:
    def test_a_service_that_does_not_start_says_why(self, place: Place) -> None:
        with place.locked(), pytest.raises(ServiceUnavailable, match="engine must be one of"):
            start(place, {"engine": "no such"})

    def test_nor_does_one_that_has_ended_before_it_could_be_asked(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(leases, "_DETACH", "pass")
        with place.locked(), pytest.raises(ServiceUnavailable, match="it said nothing"):
            start(place, {})

    def test_a_directory_of_somebody_else(self, tmp_path: Path) -> None:
        (tmp_path / "place").symlink_to(tmp_path)
        with pytest.raises(ServiceUnavailable, match="belongs to somebody else"):
            lease(Place(tmp_path / "place"))

    def test_a_draft_of_one_who_was_killed_is_in_nobodys_way(self, place: Place) -> None:
        with place.locked():
            place.record.with_suffix(".draft").touch()
            place.clear()

    def test_the_lock_is_one(self, place: Place) -> None:
        with place.locked():
            with pytest.raises(BlockingIOError), place.locked(wait=False):
                raise AssertionError("two hold the lock")
            place.clear()

    def test_a_lock_on_a_directory_that_is_gone_is_none(self, place: Place) -> None:
        with place.locked():
            place.clear()
            with place.locked(wait=False):  # another directory of that name
                place.clear()

    def test_a_lock_is_given_though_its_directory_goes_at_any_moment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where the directory's parent goes, too
        place = Place(tmp_path / "runtime" / "place")

        def lock_and_clear() -> None:
            for _ in range(300):
                with place.locked():
                    place.clear()

        with ThreadPoolExecutor(4) as threads:
            for done in [threads.submit(lock_and_clear) for _ in range(4)]:
                done.result()

    def test_no_service(self, place: Place) -> None:
        assert running(place) is None
        assert place.read() is None


class TestWhereAndHow:
    def test_each_version_has_a_place_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(leases, "version", lambda _: "1.2.3")
        assert Place().directory.name == "smexec-1.2.3"
        assert str(Place().directory).startswith(os.environ["XDG_RUNTIME_DIR"])

    def test_the_services_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "https_proxy", "HTTP_PROXY", "KEPT"):
            monkeypatch.setenv(name, "x")
        environment = leases.service_environment()
        assert environment["KEPT"] == "x"
        assert not [name for name in environment if name.startswith("AWS_") or "proxy" in name.lower()]

    def test_an_order(self) -> None:
        assert json.loads(leases.order({"region": "r"}, Path("/p"))) == {
            "config": {"region": "r"},
            "place": "/p",
        }
        assert json.loads(leases.order({}, None))["place"] is None
