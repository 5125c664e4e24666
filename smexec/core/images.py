"""Stock images: which AWS container image has a given Python, in a given region.

The table beside this module (`stock_images.json`) holds the public facts: repositories, the registry account
of each region, the Python of each tag. What is decided here is the choice between them: the smallest image
that has the asked Python. A container of smexec needs Python and nothing else, so that a plain Python image
is preferred to a framework's; on a GPU instance it is the framework image that brings CUDA.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from smexec.errors import ImageNotFound

PythonVersion = tuple[int, int]

# Partitions by the beginning of their regions' names; the longest prefix wins. From botocore's endpoints and
# partitions data ("dnsSuffix").
_DOMAINS = {
    "": "amazonaws.com",
    "cn-": "amazonaws.com.cn",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "us-isof-": "csp.hci.ic.gov",
    "us-isoe-": "cloud.adc-e.uk",
    "eu-isoe-": "cloud.adc-e.uk",
    "eusc-": "amazonaws.eu",
}


@dataclass(frozen=True)
class StockImage:
    """One image that AWS publishes, in one region."""

    repository: str
    """Name of the ECR repository, for example ``pytorch-training``."""
    tag: str
    account: str
    """Registry account, 12 digits; it differs by region."""
    region: str
    python: PythonVersion
    """``(major, minor)`` of the interpreter inside."""
    gpu: bool
    """Whether the image carries CUDA."""

    @property
    def uri(self) -> str:
        """What CreateTrainingJob takes as TrainingImage."""
        registry = f"{self.account}.dkr.ecr.{self.region}.{registry_domain(self.region)}"
        return f"{registry}/{self.repository}:{self.tag}"


def stock_image(region: str, python: PythonVersion = (3, 11), gpu: bool = False) -> str:
    """URI of the smallest stock image with this Python in this region.

    `python` is ``(major, minor)``; it has to be the client's own, since pickled code objects do not travel
    between minor versions. Raises :class:`smexec.errors.ImageNotFound`, which names what there is instead.
    """
    candidates = available_images(region, gpu=gpu)
    for image in candidates:
        if image.python == tuple(python[:2]):
            return image.uri
    raise ImageNotFound(_not_found(region, tuple(python[:2]), gpu, candidates))


def available_images(region: str, *, gpu: bool = False) -> list[StockImage]:
    """The stock images of a region, best first: smaller before larger, newer before older."""
    images = (_gpu_images if gpu else _cpu_images)(region)
    return list(images)


def available_regions() -> list[str]:
    """Regions with at least one stock image, sorted."""
    return sorted({region for family in _families().values() for region in family["registries"]})


def is_gpu(instance_type: str) -> bool:
    """Whether an instance type has an Nvidia GPU: the families p and g (``ml.p4d.24xlarge``)."""
    return re.match(r"ml\.[pg]\d", instance_type) is not None


def registry_domain(region: str) -> str:
    """DNS suffix of the region's partition, as the host name of an ECR registry ends."""
    return _DOMAINS[max(filter(region.startswith, _DOMAINS), key=len)]


def _cpu_images(region: str) -> Iterator[StockImage]:
    # A bare Python, then a handful of libraries, then a deep learning framework: the smaller the image, the
    # sooner the first line of user code, since the platform downloads it for every cold job.
    yield from _base_python(region)
    yield from _scikit_learn(region)
    yield from _pytorch(region, "cpu")


def _gpu_images(region: str) -> Iterator[StockImage]:
    yield from _pytorch(region, "gpu")


def _base_python(region: str) -> Iterator[StockImage]:
    family = _families()["sagemaker-base-python"]
    if account := family["registries"].get(region):
        # The repository's name carries the Python, "sagemaker-base-python-{310}". 3.8, which exists as well,
        # is no client's Python any more.
        (digits,) = re.findall(r"\{(\d+)\}", family["repository"])
        repository = re.sub(r"[{}]", "", family["repository"])
        yield StockImage(repository, family["tag"], account, region, _python_of(f"py{digits}"), gpu=False)


def _scikit_learn(region: str) -> Iterator[StockImage]:
    family = _families()["sagemaker-scikit-learn"]
    if account := family["registries"].get(region):
        for version in reversed(family["versions"]):
            # The table knows the Python of a version only where the version's name says it.
            if match := re.search(r"-(py3\d+)$", version):
                tag = family["tag"].format(version=version)
                yield StockImage(family["repository"], tag, account, region, _python_of(match[1]), gpu=False)


def _pytorch(region: str, processor: str) -> Iterator[StockImage]:
    family = _families()["pytorch-training"]
    if account := family["registries"].get(region):
        for version, pythons in reversed(family["versions"].items()):
            for python in pythons:
                tag = family["tag"].replace("{cpu|gpu}", processor).format(version=version, python=python)
                gpu = processor == "gpu"
                yield StockImage(family["repository"], tag, account, region, _python_of(python), gpu)


def _python_of(tag: str) -> PythonVersion:
    """``"py310"`` → ``(3, 10)``."""
    return int(tag[2]), int(tag[3:])


@functools.cache
def _families() -> Mapping[str, Any]:
    text = resources.files(__package__).joinpath("stock_images.json").read_text(encoding="utf-8")
    families: dict[str, Any] = json.loads(text)
    del families["about"]
    return families


def _not_found(region: str, python: tuple[int, ...], gpu: bool, candidates: list[StockImage]) -> str:
    wanted = f"There is no stock {'GPU ' if gpu else ''}image with Python {_dotted(python)} in {region}"
    remedy = "Give image_uri=... with an image of your own that has this Python"
    if not candidates:
        return f"{wanted}: no stock image is known in this region. {remedy}."
    offered = {image.python: image.uri for image in reversed(candidates)}
    lines = "".join(f"\n  Python {_dotted(version)}: {uri}" for version, uri in sorted(offered.items()))
    return f"{wanted}. {remedy}, or run with one of these Pythons:{lines}"


def _dotted(python: tuple[int, ...]) -> str:
    return ".".join(map(str, python))
