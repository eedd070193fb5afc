"""YAML text into plain nodes that know their line; everything clever in YAML is refused."""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from drkit.errors import ConfigError

LIMIT = 256 << 10  # bytes of a file: it is repeated in each manifest, in a line of 1 MiB
_DEPTH = 16
_NODES = 50_000
_MOST = 20  # problems listed of one file

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]"
)
_BREAK = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")
_PRIVATE = re.compile(
    r"AGE-SECRET-KEY-(?:[A-Z]+-)?1[0-9A-Z]{4}|DRKIT-SIGNER-1\s+[0-9a-f]{4}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Scalar:
    line: int
    text: str
    plain: bool = True  # without quotes: only these may be numbers, true and false, or nothing


@dataclass(frozen=True, slots=True)
class Items:
    line: int
    items: list["Node"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Keys:
    line: int
    pairs: list[tuple[Scalar, "Node"]] = field(default_factory=list)

    def find(self, key: str) -> tuple[Scalar, "Node"] | None:
        return next((pair for pair in self.pairs if pair[0].text == key), None)


Node = Scalar | Items | Keys


@dataclass(frozen=True, slots=True)
class Problem:
    line: int
    message: str
    hint: str | None = None


class Refused(Exception):
    """The text can't be read any further."""

    def __init__(self, line: int, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.problem = Problem(line, message, hint)


def quoted(text: str) -> str:
    """For a message: short, on one line, and nothing in it that a terminal would obey."""
    return repr(text if len(text) <= 60 else text[:60] + "…")


def config_error(origin: str, problems: list[Problem]) -> ConfigError:
    """All of them in the order of the file, a line each."""
    ordered = sorted(problems, key=lambda problem: problem.line)
    lines = [f"{origin}:{p.line}: {p.message}" for p in ordered[:_MOST]]
    if len(ordered) > _MOST:
        lines.append(f"{origin}: and {len(ordered) - _MOST} more")
    return ConfigError("\n".join(lines), hint=next((p.hint for p in ordered if p.hint), None))


def decoded(data: bytes) -> str:
    if len(data) > LIMIT:
        raise Refused(1, f"a policy may have {LIMIT >> 10} KiB at most")
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise Refused(line, f"not UTF-8: byte 0x{data[error.start]:02x}") from None
    if private := _PRIVATE.search(text):
        raise Refused(
            _line(text, private.start()),
            "a private key stands in a policy: whoever reads the file reads the backups",
            "make a new key, take this one out of the file, and treat it as stolen",
        )
    if control := _CONTROL.search(text):
        raise Refused(
            _line(text, control.start()), f"a control character (0x{ord(control[0]):02x})"
        )
    return text


def _line(text: str, at: int) -> int:
    return len(_BREAK.findall(text, 0, at)) + 1


def parsed(text: str) -> Keys:
    try:
        root = _Builder().build(_events(text))
    except yaml.MarkedYAMLError as error:
        raise _syntax(text, error) from None
    except yaml.YAMLError as error:
        raise Refused(1, f"not YAML: {_one_line(str(error))}") from None
    if root is None or (isinstance(root, Scalar) and not root.text):
        raise Refused(1, "an empty file", "policies/files.yaml of the project is a complete sample")
    if not isinstance(root, Keys):
        raise Refused(root.line, "not a policy: keys with values are wanted, like name: shop")
    return root


def _events(text: str) -> Iterator[yaml.Event]:
    return iter(yaml.parse(text, Loader=_LOADER))


def _syntax(text: str, error: yaml.MarkedYAMLError) -> Refused:
    mark = error.problem_mark or error.context_mark
    lines = _BREAK.split(text.rstrip())
    at = 0 if mark is None else min(mark.line, len(lines) - 1)  # the end may be a line too far
    shown = lines[at]
    if "\t" in shown[: len(shown) - len(shown.lstrip())]:
        return Refused(at + 1, "a tab at the start of a line: YAML wants blanks there")
    said = ", ".join(part for part in (error.problem, error.context) if part)
    return Refused(at + 1, f"not YAML: {_one_line(said)}")


def _one_line(text: str) -> str:
    return " ".join(text.split()).lower()[:200]


class _Builder:
    """Keeps its own stack: nested input must not nest calls."""

    def __init__(self) -> None:
        self._root: Node | None = None
        self._stack: list[Items | Keys] = []
        self._keys: list[Scalar | None] = []  # of each open mapping, the key that waits for a value
        self._count = 0

    def build(self, events: Iterator[yaml.Event]) -> Node | None:
        for event in events:
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, yaml.DocumentStartEvent) and self._root is not None:
                raise Refused(line, "a second document (---): one policy a file")
            if isinstance(event, yaml.CollectionEndEvent):
                self._stack.pop()
                self._keys.pop()
            elif isinstance(event, yaml.NodeEvent):
                self._node(event, line)
        return self._root

    def _node(self, event: yaml.NodeEvent, line: int) -> None:
        if isinstance(event, yaml.AliasEvent) or event.anchor:
            raise Refused(line, "anchors and aliases (& and *) are not accepted: write it out")
        tag = getattr(event, "tag", None)
        if tag:
            raise Refused(line, f"tags are not accepted: {quoted(tag)}")
        self._count += 1
        if self._count > _NODES:
            raise Refused(line, f"more than {_NODES} values")
        if isinstance(event, yaml.ScalarEvent):
            self._place(Scalar(line, event.value, not event.style))
            return
        node = Items(line) if isinstance(event, yaml.SequenceStartEvent) else Keys(line)
        self._place(node)
        self._stack.append(node)
        self._keys.append(None)
        if len(self._stack) > _DEPTH:
            raise Refused(line, f"nested more than {_DEPTH} deep")

    def _place(self, node: Node) -> None:
        if not self._stack:
            self._root = node
            return
        top = self._stack[-1]
        if isinstance(top, Items):
            top.items.append(node)
        elif (key := self._keys[-1]) is None:
            self._keys[-1] = _key(node)
        else:
            top.pairs.append((key, node))
            self._keys[-1] = None


def _key(node: Node) -> Scalar:
    if not isinstance(node, Scalar):
        raise Refused(node.line, "a key must be a word")
    return node
