"""docs/policy.md and the JSON Schema for editors, made from the table of keys."""

import json
from collections.abc import Iterator
from dataclasses import MISSING

from drkit.config.schema import POLICY
from drkit.config.shapes import Flag, Key, Many, Number, Section, Shape, Word, default
from drkit.model.policy import VERSION

_INTRO = """# A policy

One YAML file says what is protected, where it goes, who can read it, when and for how long.
`policies/files.yaml` is a complete sample, `policies/minimal.yaml` the shortest one; a first line
`# yaml-language-server: $schema=./policy.schema.json` makes an editor complete and check the keys.

Without `--policy-dir`, commands look for `*.yaml` in `./policies`, and in `/etc/drkit/policies`
when there are none; the first folder that holds some is used alone. An unknown key, a wrong unit or
a missing value is an error with file and line, exit 3. The text of the file is kept in each backup,
readable with its keys. Private keys and passwords never stand in a policy.

Durations are written `30 days`, `24h`, `15 min`, `1h30m`; rates `80 MB/s` (1000), `64 MiB/s`
(1024) or `100 Mbit/s`. Anchors, aliases and tags of YAML are not accepted, nor a file of more than
256 KiB.

Times to run at are `hourly`, `hourly :15`, `daily 02:00`, `weekly sat 05:00`, `monthly 1 03:00`
(days 1 to 28), `monthly last 03:00`, and `every 15 min` (counted from midnight UTC of 1 January
1970). A time that a clock skips in spring is later by as much; one that comes twice in autumn
counts once."""


def policy_markdown() -> str:
    parts = [_INTRO, *_tables(POLICY, ""), _later()]
    return "\n\n".join(parts) + "\n"


def _tables(section: Section, path: str) -> Iterator[str]:
    title = f"## `{path}`" if path else "## The file"
    rows = [_row(section, key) for key in section.keys]
    yield "\n".join([title, "", "| key | value | default | |", "|---|---|---|---|", *rows])
    for key in section.keys:
        if isinstance(key.shape, Section):
            yield from _tables(key.shape, f"{path}.{key.name}" if path else key.name)


def _row(section: Section, key: Key) -> str:
    cells = [f"`{key.name}`", key.shape.says, _default_in_words(section, key), key.says]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default_in_words(section: Section, key: Key) -> str:
    if default(section, key.name) is MISSING:
        return "**required**"
    shown = _default(section, key)
    return key.absent or f"`{json.dumps(shown) if isinstance(shown, bool) else shown}`"


def _default(section: Section, key: Key) -> object:
    """As it would be written; None where there is nothing to write."""
    value = default(section, key.name)
    if value is MISSING or value is None or key.absent:
        return None
    return key.shape.show(value) if isinstance(key.shape, Word) else value


def _later() -> str:
    names = ", ".join(f"`{name}`" for name in _planned(POLICY, ""))
    return f"## Not in this version yet\n\nPlanned, and refused until they work: {names}."


def _planned(section: Section, path: str) -> Iterator[str]:
    yield from (f"{path}{name}" for name in sorted(section.later))
    for key in section.keys:
        if isinstance(key.shape, Section):
            yield from _planned(key.shape, f"{path}{key.name}.")


def policy_schema() -> str:
    top = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "drkit policy",
        **_schema(POLICY),
    }
    return json.dumps(top, indent=2, ensure_ascii=False) + "\n"


def _schema(shape: Shape) -> dict[str, object]:
    if isinstance(shape, Section):
        return _section(shape)
    if isinstance(shape, Flag):
        return {"type": "boolean"}
    if isinstance(shape, Number):
        return {"type": "integer", "minimum": shape.least, "maximum": shape.most}
    if isinstance(shape, Many):
        least = {"minItems": shape.least} if shape.least else {}
        return {"type": "array", "items": _schema(shape.item), **least}
    return _word(shape)


def _word(shape: Word) -> dict[str, object]:
    if shape.choices:
        return {"enum": list(shape.choices)}
    if shape.says == str(VERSION):
        return {"const": VERSION}
    pattern = {"pattern": shape.pattern} if shape.pattern else {}
    return {"type": "string", **pattern}


def _section(section: Section) -> dict[str, object]:
    needed = [key.name for key in section.keys if default(section, key.name) is MISSING]
    return {
        "type": "object",
        "additionalProperties": False,
        **({"required": needed} if needed else {}),
        "properties": {key.name: _property(section, key) for key in section.keys},
    }


def _property(section: Section, key: Key) -> dict[str, object]:
    says = {"description": f"{key.says} ({key.shape.says})"}
    value = _default(section, key)
    default_ = {} if value is None or isinstance(key.shape, Section) else {"default": value}
    return {**says, **_schema(key.shape), **default_}
