"""Shipped samples, the schema for editors and docs/policy.md: one truth."""

import json
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from drkit.config import load_policy, policy_markdown, policy_schema
from tests.fixtures.policy_text import MINIMAL

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "policies").glob("*.yaml"))


def as_editors_see_it(text: str) -> object:
    return yaml.safe_load(text)


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    made = json.loads(policy_schema())
    Draft202012Validator.check_schema(made)
    return Draft202012Validator(made)


def test_there_are_samples() -> None:
    named = {"files", "minimal", "postgres-local", "postgres-gcs", "postgres-s3-compliance"}
    assert named <= {path.stem for path in SAMPLES}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_samples_are_read_and_fit_the_schema(path: Path, schema: Draft202012Validator) -> None:
    assert load_policy(path).name == path.stem
    text = path.read_text()
    assert text.startswith("# yaml-language-server: $schema=./policy.schema.json\n")
    assert not list(schema.iter_errors(as_editors_see_it(text)))


def test_the_shipped_schema_is_the_generated_one() -> None:
    assert (ROOT / "policies" / "policy.schema.json").read_text() == policy_schema()


@pytest.mark.parametrize(
    "more",
    [
        "zzz: 1",
        "retention: {weekly: many}",
        "retention: {keep: soon}",
        "schedule: {full: 02:00 daily}",
        "state: var",
        "canary: {}",
    ],
)
def test_the_schema_finds_mistakes(more: str, schema: Draft202012Validator) -> None:
    assert not list(schema.iter_errors(as_editors_see_it(MINIMAL)))
    assert list(schema.iter_errors(as_editors_see_it(f"{MINIMAL}{more}\n")))


def keys_of(schema: dict[str, object], path: str = "") -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    properties = schema.get("properties", {})
    assert isinstance(properties, dict)
    for name, shape in properties.items():
        found |= {path + name: shape, **keys_of(shape, f"{path}{name}.")}
    return found


def test_each_key_is_documented_and_in_a_complete_sample() -> None:
    keys = keys_of(json.loads(policy_schema()))
    sections = dict(
        part.split("\n", 1) for part in policy_markdown().split("\n## ") if "\n" in part
    )
    complete = ("files.yaml", "postgres-local.yaml")
    sample = "".join((ROOT / "policies" / name).read_text() for name in complete)
    for path in keys:
        section, _, name = path.rpartition(".")
        assert f"| `{name}` |" in sections[f"`{section}`" if section else "The file"]
        assert re.search(rf"(^|[ {{#]){name}:", sample, re.MULTILINE), path
    documented = re.findall(r"^\| `(\w+)` \|", policy_markdown(), re.MULTILINE)
    assert sorted(documented) == sorted(path.rpartition(".")[2] for path in keys)


def test_defaults_in_the_schema_are_those_of_the_model() -> None:
    keys = keys_of(json.loads(policy_schema()))
    assert keys["repository.compression"]["default"] == "zstd:3"
    assert keys["source.files.unreadable"]["default"] == "fail"
    assert keys["source.files.xattrs"]["default"] is True
    assert keys["retention.patience"]["default"] == "1 day"
    assert keys["retention.weekly"]["default"] == 0
    assert keys["source.postgres.incremental"]["default"] == "auto"
    assert keys["verify.scratch.memory"]["default"] == "256 MiB"
    assert "default" not in keys["source.postgres.max_rate"]
    assert "default" not in keys["retention.keep"]
