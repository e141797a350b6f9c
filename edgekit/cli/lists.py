"""`edgekit list`: what edgekit knows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from edgekit.cli.printing import AsJson, print_rows
from edgekit.errors import EdgekitError

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def about(context: typer.Context) -> None:
    """What edgekit knows: targets, recipes, models, metrics, suites ..."""
    if context.invoked_subcommand is None:
        sys.stdout.write(context.get_help() + "\n")


@app.command("targets")
def list_targets(as_json: AsJson = False) -> int:
    """Targets: format and precision."""
    from edgekit import catalogue  # not `target`: validating with pydantic would double the time of a list

    rows: list[dict[str, Any]] = []
    for name in catalogue.names("targets"):
        path = catalogue.find("targets", name)
        own = not catalogue.is_packaged("targets", path)
        found, problem = _read_target(path, whole=own)
        facts = {key: found.get(key) for key in ("title", "format", "precision")}
        rows.append({"name": name, **facts, "file": str(path) if own else None, "problem": problem})
    if as_json:
        return print_rows("targets", rows, as_json)
    extra = [key for key in ("file", "problem") if any(row[key] for row in rows)]
    return print_rows(
        "targets", [{k: row[k] for k in ("name", "title", "format", "precision", *extra)} for row in rows], as_json
    )


def _read_target(path: Path, *, whole: bool) -> tuple[dict[str, Any], str | None]:
    """A target's TOML, and why it cannot be used; those that edgekit brings are not validated for a list."""
    from edgekit import catalogue

    try:
        if whole:
            from edgekit import target

            target.parse(path)
        return catalogue.read(path), None
    except EdgekitError as error:
        return {}, str(error)


@app.command("ranges")
def list_ranges(as_json: AsJson = False) -> int:
    """Range plans: how activations get their ranges from samples."""
    from edgekit import catalogue
    from edgekit.ranges import plans

    rows: list[dict[str, Any]] = []
    for name in plans.names():
        path = catalogue.find("calibration", name)
        own = not catalogue.is_packaged("calibration", path)
        try:
            plan, problem = plans.parse(path), None
            title = catalogue.read(path)["title"]
            facts = {"method": plan.method, "samples": plan.samples, "least": plan.least, "title": title}
        except EdgekitError as error:
            facts, problem = dict.fromkeys(("method", "samples", "least", "title")), str(error)
        rows.append({"name": name, **facts, "file": str(path) if own else None, "problem": problem})
    if as_json:
        return print_rows("ranges", rows, as_json)
    extra = [key for key in ("file", "problem") if any(row[key] for row in rows)]
    shown = ("name", "method", "samples", "least", "title", *extra)
    return print_rows("ranges", [{key: row[key] for key in shown} for row in rows], as_json)


@app.command("recipes")
def list_recipes(as_json: AsJson = False) -> int:
    """Recipes: what is done to a source before it is converted."""
    from edgekit import catalogue
    from edgekit.compress import recipes

    rows: list[dict[str, Any]] = []
    for name in recipes.names():
        path = catalogue.find("targets/recipes", name)
        own = not catalogue.is_packaged("targets/recipes", path)
        try:
            found, problem = recipes.parse(path), None
            facts = {"title": found.title, "steps": found.words}
        except EdgekitError as error:
            facts, problem = dict.fromkeys(("title", "steps"), ""), str(error)
        rows.append({"name": name, **facts, "file": str(path) if own else None, "problem": problem})
    if as_json:
        return print_rows("recipes", rows, as_json)
    shown = ["name", "title", "steps", *(key for key in ("file", "problem") if any(row[key] for row in rows))]
    return print_rows("recipes", [{key: row[key] for key in shown} for row in rows], as_json)


@app.command("models")
def list_models(as_json: AsJson = False) -> int:
    """Architectures of the zoo by family: sizes, tasks, the float metric, and how many cells of the matrix passed."""
    from edgekit import zoo

    passed = zoo.passed()
    specs = {name: zoo.architecture(name) for name in zoo.names()}
    rows: list[dict[str, Any]] = []
    for name, spec in sorted(specs.items(), key=lambda item: (zoo.FAMILIES.index(item[1].family), item[0])):
        for config, facts in spec.configs.items():
            card = zoo.card(name, config)
            trained = f"{card['metric']} {card['selection']:.3f} (n = {card['samples']})" if card else None
            rows.append(
                {
                    "family": spec.family,
                    "name": name if config == "tiny" else f"{name}:{config}",
                    "title": spec.title,
                    "parameters": facts.parameters,
                    "task": facts.task,
                    "float": trained,
                    "passed": "{} of {}".format(*passed[name]) if config == "tiny" and name in passed else None,
                    "paper": spec.paper,
                }
            )
    if as_json:
        return print_rows("models", rows, as_json)
    shown = ("family", "name", "title", "parameters", "task", "float", "passed")
    return print_rows("models", [{key: row[key] for key in shown} for row in rows], as_json)


@app.command("metrics")
def list_metrics(as_json: AsJson = False) -> int:
    """What `--metric` takes: what each reads of the outputs, and its labels."""
    from edgekit.proof import metrics

    found = map(metrics.metric, metrics.names())
    rows = [{"name": m.name, "reads": m.about, "labels": m.labels, "gate": m.family} for m in found]
    return print_rows("metrics", rows, as_json)


@app.command("devices")
def list_devices(as_json: AsJson = False) -> int:
    """Devices that `edgekit build` builds for."""
    from edgekit.artifact import derived as build_for

    rows: list[dict[str, Any]] = []
    for name in build_for.devices():
        try:
            found = build_for.load_device(name)
            rows.append({"name": name, "title": found.title, "kind": found.kind, "builder": found.builder})
        except EdgekitError as error:
            rows.append({"name": name, "title": f"broken: {error}", "kind": None, "builder": None})
    return print_rows("devices", rows, as_json)


@app.command("suites")
def list_suites(as_json: AsJson = False) -> int:
    """Suites that `edgekit benchmark --suite` runs."""
    from edgekit.bench import suite

    rows: list[dict[str, Any]] = []
    for name in suite.names():
        try:
            found = suite.load(name)
            rows.append({"name": name, "title": found.title, "cells": len(found.cells()), "timed": found.latency})
        except EdgekitError as error:
            rows.append({"name": name, "title": f"broken: {error}", "cells": None, "timed": None})
    return print_rows("suites", rows, as_json)


@app.command("toolchains")
def list_toolchains(as_json: AsJson = False) -> int:
    """Toolchains and the targets that each serves."""
    from edgekit import target, toolchains

    served = target.whole()
    rows = [{"name": name, "targets": [t.name for t in served if t.toolchain == name]} for name in toolchains.names()]
    return print_rows("toolchains", rows, as_json)


@app.command("units")
def list_units(as_json: AsJson = False) -> int:
    """Units of this machine, as each runtime finds them: what `--device` of `edgekit benchmark` takes."""
    from edgekit.bench import measuring

    return print_rows("units", measuring.units(), as_json)
