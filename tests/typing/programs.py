"""What type checkers make of programs: they are submitted as functions are, and have results of their own."""

from __future__ import annotations

from typing_extensions import assert_type

from smexec import (
    Deployment,
    Endpoint,
    Future,
    Processing,
    ProcessingResult,
    SageMakerExecutor,
    Script,
    TrainingResult,
    Transform,
    TransformResult,
)


def what_submit_returns(
    executor: SageMakerExecutor, train: Script, report: Processing, ask: Transform
) -> None:
    assert_type(executor.submit(train, rounds=100), Future[TrainingResult])
    assert_type(executor.submit(train, {"rounds": 100}).result().model, str | None)
    assert_type(executor.submit(report, "--year", 2025), Future[ProcessingResult])
    assert_type(executor.submit(report).result().exit_message, str | None)
    assert_type(executor.submit(ask, "s3://bucket/new/").result(), TransformResult)


def what_map_yields(executor: SageMakerExecutor, train: Script, report: Processing, ask: Transform) -> None:
    assert_type(list(executor.map(train, [{"rounds": n} for n in (10, 100)])), list[TrainingResult])
    assert_type(next(executor.map(report, [["--year", 2025]], ordered=False)), ProcessingResult)
    assert_type(list(executor.starmap(report, [("--year", 2025)])), list[ProcessingResult])
    either = executor.map(ask, ["s3://bucket/new/"], return_exceptions=True)
    assert_type(list(either), list[TransformResult | BaseException])


def what_they_are_made_of(model: TrainingResult) -> None:
    Script("train.R", source_dir="r", inputs={"train": "s3://bucket/key"}, volume_size=50)
    Processing("report.R", outputs={"html": None}, arguments=["--year", 2025], command=())
    Transform(model, content_type="text/csv", split_type="Line")
    Script("train.R", inputs=["s3://bucket/key"])  # type: ignore[arg-type]
    Processing("report.R", command="Rscript", outputs={"html": 5})  # type: ignore[dict-item]
    Transform()  # type: ignore[call-arg]


async def what_serves(executor: SageMakerExecutor, model: TrainingResult) -> None:
    assert_type(executor.submit(Deployment(model, autoscaling={"min": 1, "max": 2})), Future[Endpoint])
    assert_type(model.deploy(image_uri="server:1"), Endpoint)
    assert_type(await model.adeploy(), Endpoint)
    assert_type(model.transform("s3://bucket/new/"), TransformResult)
    async with await model.adeploy() as endpoint:
        assert_type(endpoint, Endpoint)
    await endpoint.aupdate(model, instance_count=2)
