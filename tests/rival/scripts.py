"""What a user of the SageMaker SDK writes for a container in R. Run by the SDK's own Python; prints JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

import sagemaker
from sagemaker.deserializers import JSONDeserializer
from sagemaker.estimator import Estimator
from sagemaker.processing import ProcessingInput, ProcessingOutput, ScriptProcessor
from sagemaker.serializers import JSONSerializer

SOURCE = str(Path(__file__).with_name("r"))
SETTINGS = {
    # Account and default bucket are given: the SDK would look them up at a host that knows no other endpoint.
    "sagemaker_session": sagemaker.Session(default_bucket=os.environ["BUCKET"]),
    "role": os.environ["SMEXEC_ROLE"],
    "image_uri": "r:local",
    "instance_count": 1,
    "instance_type": "ml.m5.large",
}


def train_and_predict(data: str) -> dict[str, object]:
    estimator = Estimator(
        entry_point="train.R",
        source_dir=SOURCE,
        hyperparameters={"rows": 3},
        metric_definitions=[{"Name": "rmse", "Regex": "rmse=(.*?);"}],
        **SETTINGS,
    )
    estimator.fit({"train": data})
    predictor = estimator.deploy(
        1, "ml.m5.large", serializer=JSONSerializer(), deserializer=JSONDeserializer()
    )
    prediction = predictor.predict({"length": 0.5})
    predictor.delete_model()
    predictor.delete_endpoint()
    return {"job": estimator.latest_training_job.name, "prediction": prediction}


def process(data: str) -> str:
    processor = ScriptProcessor(command=["Rscript"], **SETTINGS)
    processor.run(
        code=f"{SOURCE}/report.R",
        inputs=[ProcessingInput(data, "/opt/ml/processing/input/data")],
        outputs=[ProcessingOutput("/opt/ml/processing/output", output_name="report")],
        arguments=["--year", "2026"],
    )
    return str(processor.latest_job.outputs[0].destination)


if __name__ == "__main__":
    results = {**train_and_predict(os.environ["DATA"]), "report": process(os.environ["DATA"])}
    print()  # after the signs of waiting
    print(json.dumps(results))
