"""``docker`` and ``aws`` as a build finds them on its PATH: the machine's engine, and a registry of names.

There is no registry: an image that is pushed stays in the engine's own store, under its name in ECR, where
jobs of the same engine find it. ECR learns its tag and its digest, of a manifest that names the image's
configuration and its layers as they are in the store.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_NO_ENGINE = (
    "Cannot connect to the Docker daemon. This local service runs jobs as processes, without an engine for "
    "images: start it with --engine podman or --engine docker."
)


def main() -> None:
    """Do what the tool does whose name comes first."""
    name, *arguments = sys.argv[1:]
    if name == "docker":
        docker(os.environ["SMEXEC_LOCAL_ENGINE"], arguments)
    else:
        aws(arguments)


def docker(engine: str, arguments: Sequence[str]) -> None:
    """The engine's command line, but for what concerns the registry."""
    if engine == "process":
        sys.exit(f"ERROR: {_NO_ENGINE}")
    command = arguments[0] if arguments else ""
    if command == "login":
        log_in()
    elif command == "push":
        push(engine, arguments[-1])
    else:
        become(engine, own_cache(arguments) if engine == "podman" and command == "build" else arguments)


def own_cache(arguments: Sequence[str]) -> list[str]:
    """A build's arguments without ``--cache-from``: the layers are in podman's own store, if anywhere."""
    return [
        word
        for before, word in zip(["", *arguments], arguments, strict=False)
        if "--cache-from" not in (before, word)
    ]


def log_in() -> None:
    """``docker login --password-stdin``: what ``aws ecr get-login-password`` gave is as good as any."""
    if not sys.stdin.readline().strip():
        sys.exit("Error: no password on standard input")
    print("Login Succeeded")  # noqa: T201


def push(engine: str, reference: str) -> None:
    """Tell ECR of an image that the engine has."""
    found = subprocess.run(
        [engine, "image", "inspect", reference], capture_output=True, text=True, check=False
    )
    if found.returncode:
        sys.exit(f"ERROR: {found.stderr.strip()}")
    document = manifest(json.loads(found.stdout)[0])
    digest = "sha256:" + hashlib.sha256(document.encode()).hexdigest()
    name, _, tag = reference.partition("/")[2].partition(":")
    ecr = client()
    image = {"repositoryName": name, "imageTag": tag, "imageManifest": document, "imageDigest": digest}
    with contextlib.suppress(ecr.exceptions.ImageAlreadyExistsException):  # the same again, as docker has it
        ecr.put_image(**image, imageManifestMediaType=_MANIFEST)
    print(f"{tag}: digest: {digest} size: {len(document)}")  # noqa: T201


def manifest(image: Mapping[str, Any]) -> str:
    """Of an image as ``docker image inspect`` shows it. Engines tell the size of all layers together."""
    layers = [{"mediaType": _LAYER, "digest": digest, "size": 0} for digest in image["RootFS"]["Layers"]]
    config = {"mediaType": _CONFIG, "digest": f"sha256:{image['Id'].removeprefix('sha256:')}"}
    document = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {**config, "size": image["Size"]},
        "layers": layers,
    }
    return json.dumps(document)


def aws(arguments: Sequence[str]) -> None:
    """``aws ecr get-login-password``; for everything else the machine's own program."""
    if list(arguments[:2]) != ["ecr", "get-login-password"]:
        become("aws", arguments)
    answer = client().get_authorization_token()
    token = answer["authorizationData"][0]["authorizationToken"]
    print(base64.b64decode(token).decode().partition(":")[2])  # noqa: T201


def client() -> Any:
    """ECR, as the service has it."""
    import botocore.session

    return botocore.session.get_session().create_client("ecr", endpoint_url=os.environ["AWS_ENDPOINT_URL"])


def become(program: str, arguments: Sequence[str]) -> NoReturn:
    """Run a program of the machine's in the place of this one."""
    here = os.environ["PATH"].partition(os.pathsep)[2]
    path = shutil.which(program, path=here)
    if path is None:
        sys.exit(f"{program}: command not found")
    os.execve(path, [program, *arguments], {**os.environ, "PATH": here})  # noqa: S606
