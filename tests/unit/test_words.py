"""What a result says to people."""

from __future__ import annotations

import pytest

from edgekit.artifact import words
from edgekit.result import Accuracy, Host, Proof, Result, SamplesFacts, SourceFacts
from edgekit.result.recipe import RecipeFacts
from edgekit.result.speed import Latency

TIMED = Latency(
    float_cpu_ms=0.5, artifact_cpu_ms=0.25, ratio=0.5, ratio_ci95=(0.49, 0.51), verdict="FASTER", noisy=False,
    blocks=41, runs_per_block=(10, 20), wall_over_cpu=1.0, measured_at="2026-11-28T06:50:09Z",
)  # fmt: skip


def result(latency: Latency | None) -> Result:
    return Result(
        status="PASS",
        flags=("REUSED",),
        proof=Proof(kind="runtime", by="ONNX Runtime"),
        artifact=None,
        target="onnxruntime-int8",
        format="onnx",
        toolchain="onnx",
        precision="int8",
        precision_reached="int8",
        framework="torch",
        source=SourceFacts(given="lenet5", kind="zoo", name="lenet5", sha256="0" * 64),
        route="ptq-w8a8-qdq",
        routes_tried=(),
        gate={},
        samples=SamplesFacts(origin="task", seed=0, splits={}),
        tools={},
        cpu_seconds={},
        peak_rss_bytes=0,
        latency=latency,
        host=Host(system="Linux", machine="x86_64", processor="", cores=2, memory_bytes=1, python="3.11"),
    )


@pytest.mark.parametrize(
    ("latency", "said"),
    [
        (
            TIMED.model_copy(update={"reused": True}),
            "the latency was not measured again: it is from the store, measured 2026-11-28 06:50 UTC",
        ),
        (TIMED, "the latency of other routes was not measured again"),
        (None, "nothing was run again"),
    ],
)
def test_a_reused_measurement_says_when_it_was_taken(latency: Latency | None, said: str) -> None:
    meaning = dict(words.flags(result(latency)))["REUSED"]
    assert meaning.startswith(said)
    assert ("2026-11-28 06:50 UTC" in meaning) == bool(latency and latency.reused)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (None, "61.00% with the float model"),
        (RecipeFacts(name="qat", steps=()), "61.00% with the float model before its training"),
    ],
)
def test_agreement_names_the_model_that_a_recipe_began_with(recipe: RecipeFacts | None, said: str) -> None:
    scored = Accuracy(
        metric="top1", higher_is_better=True, samples=2000, float=0.55, checkpoint=0.75, artifact=0.75, drop=-0.2,
        drop_ci95=(-0.22, -0.18), agreement=0.61, split="test",
    )  # type: ignore[call-arg]  # fmt: skip
    found = result(None).model_copy(update={"accuracy": scored, "recipe": recipe})
    assert dict(words.facts(found))["agreement"] == said
