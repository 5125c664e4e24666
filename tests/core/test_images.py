from __future__ import annotations

import json
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.core.images import (
    StockImage,
    available_images,
    available_regions,
    is_gpu,
    registry_domain,
    stock_image,
)
from smexec.errors import ImageNotFound

REGIONS = available_regions()
FULL_REGION = "eu-west-1"  # has an image of every family


@pytest.mark.parametrize(
    ("python", "gpu", "uri"),
    [
        ((3, 10), False, "470317259841.dkr.ecr.eu-west-1.amazonaws.com/sagemaker-base-python-310:1.0"),
        ((3, 11), False, "763104351884.dkr.ecr.eu-west-1.amazonaws.com/pytorch-training:2.5.1-cpu-py311"),
        (
            (3, 12),
            False,
            "141502667606.dkr.ecr.eu-west-1.amazonaws.com/sagemaker-scikit-learn:1.4-2-py312-cpu-py3",
        ),
        ((3, 10), True, "763104351884.dkr.ecr.eu-west-1.amazonaws.com/pytorch-training:2.2.0-gpu-py310"),
        ((3, 11), True, "763104351884.dkr.ecr.eu-west-1.amazonaws.com/pytorch-training:2.5.1-gpu-py311"),
        ((3, 12), True, "763104351884.dkr.ecr.eu-west-1.amazonaws.com/pytorch-training:2.8.0-gpu-py312"),
    ],
)
def test_the_smallest_image_with_the_asked_python(python: tuple[int, int], gpu: bool, uri: str) -> None:
    assert stock_image(FULL_REGION, python, gpu=gpu) == uri


def test_a_region_without_the_preferred_image_gets_the_next() -> None:
    assert stock_image("ap-southeast-6", (3, 10)).endswith("/pytorch-training:2.2.0-cpu-py310")
    assert stock_image("ap-southeast-6", (3, 12)).endswith("/pytorch-training:2.8.0-cpu-py312")


@pytest.mark.parametrize(
    ("region", "domain"),
    [
        ("cn-north-1", "amazonaws.com.cn"),
        ("us-gov-west-1", "amazonaws.com"),
        ("us-iso-east-1", "c2s.ic.gov"),
        ("us-isob-east-1", "sc2s.sgov.gov"),
        ("us-isof-south-1", "csp.hci.ic.gov"),
        ("eu-isoe-west-1", "cloud.adc-e.uk"),
        ("us-west-2", "amazonaws.com"),
    ],
)
def test_the_registry_is_in_the_partition_of_its_region(region: str, domain: str) -> None:
    assert registry_domain(region) == domain


def test_domains_agree_with_botocores_partitions() -> None:
    text = resources.files("botocore").joinpath("data/partitions.json").read_text(encoding="utf-8")
    for partition in json.loads(text)["partitions"]:
        for region in partition["regions"]:
            if region.endswith("-global"):
                continue  # no region one can run a job in
            assert registry_domain(region) == partition["outputs"]["dnsSuffix"], region


def test_a_missing_python_is_answered_with_those_there_are() -> None:
    with pytest.raises(ImageNotFound) as caught:
        stock_image(FULL_REGION, (3, 14))
    message = str(caught.value)
    assert "no stock image with Python 3.14 in eu-west-1" in message
    assert "image_uri=" in message
    for python in ((3, 10), (3, 11), (3, 12)):
        assert stock_image(FULL_REGION, python) in message


def test_a_region_with_few_images_names_only_those() -> None:
    with pytest.raises(ImageNotFound) as caught:
        stock_image("us-iso-east-1", (3, 10))
    message = str(caught.value)
    assert "Python 3.12: 833128469047.dkr.ecr.us-iso-east-1.c2s.ic.gov/sagemaker-scikit-learn" in message
    assert "3.11" not in message


def test_a_region_without_images_says_so() -> None:
    with pytest.raises(ImageNotFound, match=r"no stock image is known in this region.*image_uri="):
        stock_image("mars-north-1", (3, 11))


def test_a_missing_gpu_image_says_that_it_is_the_gpu_that_is_missing() -> None:
    with pytest.raises(ImageNotFound, match=r"no stock GPU image with Python 3.12 in us-iso-east-1"):
        stock_image("us-iso-east-1", (3, 12), gpu=True)


@pytest.mark.parametrize("name", ["ml.p3.2xlarge", "ml.p4d.24xlarge", "ml.g4dn.xlarge", "ml.g5.xlarge"])
def test_instances_with_a_gpu(name: str) -> None:
    assert is_gpu(name)


@pytest.mark.parametrize("name", ["ml.m5.large", "ml.c5.xlarge", "ml.trn1.2xlarge", "ml.r5.large", "local"])
def test_instances_without_a_gpu(name: str) -> None:
    assert not is_gpu(name)


@given(region=st.sampled_from(REGIONS), minor=st.integers(8, 16), gpu=st.booleans())
def test_what_is_chosen_is_available_and_has_the_python(region: str, minor: int, gpu: bool) -> None:
    python = (3, minor)
    available = available_images(region, gpu=gpu)
    fitting = [image.uri for image in available if image.python == python]
    if fitting:
        assert stock_image(region, python, gpu=gpu) == fitting[0]
    else:
        with pytest.raises(ImageNotFound):
            stock_image(region, python, gpu=gpu)


@given(region=st.sampled_from(REGIONS), gpu=st.booleans())
def test_every_uri_is_one_that_a_job_accepts(region: str, gpu: bool) -> None:
    for image in available_images(region, gpu=gpu):
        assert isinstance(image, StockImage)
        assert image.gpu is gpu
        assert len(image.uri) <= 255  # TrainingImage, from botocore's model
        assert not set("{}|") & set(image.uri)
        assert len(image.account) == 12
        assert image.account.isdigit()
