"""What builders really wrote."""

from __future__ import annotations

import pytest

from smexec.images.steps import Steps

PODMAN = """\
STEP 1/3: FROM localhost/smexec-base
STEP 2/3: RUN echo hi > /x
--> bf5c3a17f36
STEP 3/3: RUN exit 3
Error: building at STEP "RUN exit 3": while running runtime: exit status 3
"""
PODMAN_STAGES = """\
[1/2] STEP 1/2: FROM localhost/smexec-base AS a
[1/2] STEP 2/2: RUN kill -9 $$
Error: building at STEP "RUN kill -9 $$": while running runtime: exit status 137
"""
DOCKER = """\
Step 1/2 : FROM debian
 ---> 1
Step 2/2 : RUN false
 ---> Running in 2
The command '/bin/sh -c false' returned a non-zero code: 1
"""
BUILDKIT = """\
#0 building with "default" instance using docker driver

#1 [internal] load build definition from Dockerfile
#1 transferring dockerfile: 98B done
#4 [1/3] FROM docker.io/library/debian:12
#4 CACHED
#5 [2/3] RUN Rscript -e 'stop("exit code: 5")'
#5 0.312 Error: exit code: 5
#6 [b 1/2] RUN sleep 1
#5 ERROR: process "/bin/sh -c Rscript -e ..." did not complete successfully: exit code: 137
------
ERROR: failed to solve: process "/bin/sh -c ..." did not complete successfully: exit code: 137
"""


def read(text: str) -> Steps:
    steps = Steps()
    for line in text.splitlines():
        steps.read(line)
    return steps


@pytest.mark.parametrize(
    ("text", "step", "code"),
    [
        (PODMAN, "step 3/3: RUN exit 3", 3),
        (PODMAN_STAGES, "step 2/2: RUN kill -9 $$", 137),
        (DOCKER, "step 2/2: RUN false", 1),
        (BUILDKIT, "step [2/3] RUN Rscript -e 'stop(\"exit code: 5\")'", 137),
        ("no such image", "", None),
    ],
    ids=["podman", "podman's stages", "docker", "BuildKit", "nothing"],
)
def test_the_step_that_failed(text: str, step: str, code: int | None) -> None:
    steps = read(text)
    assert (steps.last, steps.code, steps.was_killed) == (step, code, code == 137)


def test_a_number_among_a_commands_own_words_is_no_exit_code() -> None:
    assert read("STEP 1/1: RUN x\nall is well, exit code: 7\n").code is None
