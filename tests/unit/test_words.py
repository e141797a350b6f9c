"""What a result says to people."""

from __future__ import annotations

import pytest

from edgekit.artifact import words
from edgekit.result import IO, Accuracy, AgreementFacts, Host, Inspected, Part, Proof, Result, SamplesFacts, SourceFacts
from edgekit.result.parity import Channel, OutputParity, Parity
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


def compared(variation: float, sqnr: float, channel: float) -> OutputParity:
    worst = Channel(axis=1, index=0, db=channel, by="variation")
    return OutputParity(sqnr_db=sqnr, cosine=1.0, max_abs=0.0, variation_db=variation, channel=worst)


def two_outputs() -> Result:
    outputs = tuple(IO(name=name, shape=(1, 4), dtype="float32") for name in ("boxes", "scores"))
    inside = Inspected.model_construct(inputs=(), outputs=outputs)
    parity = Parity(
        reference="PyTorch", inputs="data", samples=64, sqnr_db=30.0, cosine=1.0, max_abs=0.0, variation_db=20.0,
        channel_db=10.0, per_output={"boxes": compared(20.0, 40.0, 15.0), "scores": compared(25.0, 30.0, 10.0)},
    )  # fmt: skip
    part = Part.model_construct(file="m.onnx", entry=None, inputs=(), outputs=outputs, audit=inside, parity=parity)
    return result(None).model_copy(update={"parity": parity, "parts": {"": part}})


def test_of_several_outputs_those_are_named_that_figures_are_of() -> None:
    scored = Accuracy(
        metric="top1", higher_is_better=True, samples=2000, float=0.55, checkpoint=0.55, artifact=0.55, drop=0.0,
        drop_ci95=(-0.01, 0.01), agreement=None, split="test", outputs=("scores",),
    )  # type: ignore[call-arg]  # fmt: skip
    said = dict(words.facts(two_outputs().model_copy(update={"accuracy": scored})))
    assert said["parity"].startswith(
        "SQNR 30.0 dB (output scores, the worst of 2), cosine 1.00000, variation 20.0 dB of"
    )
    assert "variation 20.0 dB of output boxes (worst channel 10.0 dB of output scores)" in said["parity"]
    assert said["accuracy"].startswith("top1 of output scores 55.00%")
    agreed = AgreementFacts(share=0.5, samples=8, output="boxes")
    assert "50.00% of output boxes with" in dict(words.facts(two_outputs().model_copy(update={"agreement": agreed})))[
        "agreement"
    ]  # fmt: skip


def test_without_labels_it_says_what_the_status_rests_on() -> None:
    assert dict(words.facts(two_outputs()))["accuracy"] == (
        "not measured: no labelled samples; the status rests on parity alone"
    )


def test_where_parity_failed_first_labels_are_not_said_to_be_missing() -> None:
    failed = two_outputs().model_copy(update={"status": "FAIL_PARITY"})
    assert dict(words.facts(failed))["accuracy"] == "not measured: parity comes first"


def test_a_clear_interval_of_a_short_time_is_not_called_unclear() -> None:
    small = TIMED.model_copy(update={"verdict": "TOO_SMALL_TO_TELL", "float_cpu_ms": 0.01})
    said = dict(words.facts(result(small)))["latency"]
    assert "0.49 to 0.51" in said and said.endswith("not judged: below 0.2 ms the float twin's time is mostly the call")


def test_where_no_route_serves_there_are_no_rows_of_a_file() -> None:
    nothing = result(None).model_copy(update={"status": "UNSUPPORTED", "precision_reached": None})
    assert words.facts(nothing) == [("target", "onnxruntime-int8 (onnx)"), ("file", "none: no route made one")]
