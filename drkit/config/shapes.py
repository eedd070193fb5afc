"""What a value of a policy may look like, and how a node becomes one; all that is wrong is told."""

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field

from drkit.config.nodes import Items, Keys, Node, Problem, Scalar, quoted
from drkit.errors import ConfigError

Parse = Callable[[str], object]
Fault = tuple[tuple[str, ...], str]  # the keys that lead there, and what is wrong
Check = Callable[[object], Iterable[Fault]]

_TRUE = {"true": True, "false": False}
_TRUTHS = frozenset({"yes", "no", "on", "off", "y", "n", "true", "false"})
_EMPTY = frozenset({"", "~", "null", "Null", "NULL"})
BAD = object()  # stands for a value whose problem is told already


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """Text, turned into its type by `parse`, whose ValueError or ConfigError is the message."""

    says: str  # what it is: "a duration"
    parse: Parse = str
    show: Callable[[object], str] = str  # the reverse, for documents
    pattern: str | None = None  # for editors
    choices: tuple[str, ...] = ()
    later: tuple[str, ...] = ()  # choices that are planned, not in this version


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    says: str = "true or false"


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    least: int = 0
    most: int = 1000

    @property
    def says(self) -> str:
        return f"a number, {self.least} to {self.most}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Many:
    item: Word
    least: int = 0
    make: Callable[[Iterable[object]], object] = tuple

    @property
    def says(self) -> str:
        return f"a list: {self.item.says}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    make: type  # a frozen dataclass: its fields are the keys, its defaults the defaults
    keys: tuple["Key", ...]
    later: frozenset[str] = frozenset()  # planned, not in this version
    check: Check = lambda _made: ()
    says: str = "keys with values"

    def key(self, name: str) -> "Key | None":
        return next((key for key in self.keys if key.name == name), None)


Shape = Word | Flag | Number | Many | Section


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    name: str
    shape: Shape
    says: str  # what it is for
    absent: str = ""  # what holds when it isn't given and the default is no value


@dataclass(slots=True)
class Reading:
    """One file's reading: the problems so far, and where each known key has its home."""

    homes: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)

    def tell(self, line: int, where: str, message: str, hint: str | None = None) -> object:
        self.problems.append(Problem(line, f"{where}: {message}" if where else message, hint))
        return BAD


def default(section: Section, name: str) -> object:
    """MISSING when the key must be given."""
    found = next(f for f in dataclasses.fields(section.make) if f.name == name)
    if found.default_factory is not MISSING:
        return found.default_factory()
    return found.default


def read(shape: Shape, node: Node, where: str, reading: Reading) -> object:
    if isinstance(shape, Section):
        return _section(shape, node, where, reading)
    if isinstance(shape, Many):
        return _many(shape, node, where, reading)
    if not isinstance(node, Scalar):
        return reading.tell(node.line, where, f"{_kind(node)} where {shape.says} is wanted")
    if isinstance(shape, Flag):
        return _flag(node, where, reading)
    if isinstance(shape, Number):
        return _number(shape, node, where, reading)
    return _word(shape, node, where, reading)


def _kind(node: Node) -> str:
    if isinstance(node, Scalar):
        return quoted(node.text)
    return "a list" if isinstance(node, Items) else "keys with values"


def _flag(node: Scalar, where: str, reading: Reading) -> object:
    if node.plain and node.text in _TRUE:
        return _TRUE[node.text]
    write = ": write true or false" if node.text.lower() in _TRUTHS else ""
    return reading.tell(node.line, where, f"{quoted(node.text)} is not true or false{write}")


def _number(shape: Number, node: Scalar, where: str, reading: Reading) -> object:
    text = node.text
    if not (node.plain and text.isascii() and text.isdigit()):
        return reading.tell(node.line, where, f"{quoted(text)} is not a number")
    if len(text) > 9 or not shape.least <= int(text) <= shape.most:
        return reading.tell(node.line, where, f"{quoted(text)} is not {shape.says}")
    return int(text)


def _word(shape: Word, node: Scalar, where: str, reading: Reading) -> object:
    if node.text in shape.later:
        problem = f"{quoted(node.text)} is not in this version of drkit yet"
        return reading.tell(node.line, where, problem)
    if shape.choices and node.text not in shape.choices:
        near = difflib.get_close_matches(node.text, shape.choices, n=1)
        more = f" (did you mean {near[0]}?)" if near else ""
        wanted = ", ".join(shape.choices)
        problem = f"{quoted(node.text)} is not one of {wanted}{more}"
        return reading.tell(node.line, where, problem)
    if len(node.text) > 4096:
        return reading.tell(node.line, where, f"longer than 4096 characters: {quoted(node.text)}")
    try:
        return shape.parse(node.text)
    except ConfigError as error:
        return reading.tell(node.line, where, error.message, error.hint)
    except ValueError as error:
        return reading.tell(node.line, where, str(error))


def _many(shape: Many, node: Node, where: str, reading: Reading) -> object:
    if not isinstance(node, Items):
        write = f": write [{node.text}]" if isinstance(node, Scalar) and len(node.text) < 60 else ""
        return reading.tell(node.line, where, f"{_kind(node)} where a list is wanted{write}")
    if len(node.items) < shape.least:
        return reading.tell(node.line, where, f"an empty list, {shape.item.says} is wanted")
    made = [read(shape.item, item, where, reading) for item in node.items]
    return BAD if _any_bad(made) else shape.make(made)


def _section(shape: Section, node: Node, where: str, reading: Reading) -> object:
    if not isinstance(node, Keys):
        return reading.tell(node.line, where, f"{_kind(node)} where {shape.says} are wanted")
    made = _values(shape, node, where, reading)
    for key in shape.keys:
        if key.name not in made and default(shape, key.name) is MISSING:
            path = _below(where, key.name)
            made[key.name] = reading.tell(node.line, path, f"missing ({key.says})")
    if _any_bad(made.values()):
        return BAD
    result: object = shape.make(**made)
    faults = list(shape.check(result))
    for names, message in faults:
        reading.tell(_line_of(node, names), _below(where, *names), message)
    return BAD if faults else result


def _any_bad(values: Iterable[object]) -> bool:
    return any(value is BAD for value in values)


def _values(shape: Section, node: Keys, where: str, reading: Reading) -> dict[str, object]:
    made: dict[str, object] = {}
    lines: dict[str, int] = {}
    for name, value in node.pairs:
        path = _below(where, name.text)
        key = shape.key(name.text)
        if name.text in lines:
            first = f"stands here twice, first in line {lines[name.text]}"
            made[name.text] = reading.tell(name.line, path, first)
        elif key is None:
            meant = _unknown(shape, name, where, reading)
            made.update({meant: BAD} if meant else {})
        elif _is_empty(value):
            empty = "has no value: write one, or leave the key out"
            made[name.text] = reading.tell(name.line, path, empty)
        else:
            made[name.text] = read(key.shape, value, path, reading)
        lines.setdefault(name.text, name.line)
    return made


def _is_empty(node: Node) -> bool:
    return isinstance(node, Scalar) and node.plain and node.text in _EMPTY


def _below(where: str, *names: str) -> str:
    words = [name for name in names if not name.isdigit()]
    shown = [word if word.isidentifier() and len(word) <= 60 else quoted(word) for word in words]
    return ".".join([where, *shown] if where else shown)


def _line_of(node: Keys, path: tuple[str, ...]) -> int:
    """Of the deepest part of the path that stands in the file: a key, or an item by its number."""
    at: Node = node
    line = node.line
    for name in path:
        if isinstance(at, Keys) and (pair := at.find(name)):
            line, at = pair[0].line, pair[1]
        elif isinstance(at, Items) and name.isdigit():
            at = at.items[int(name)]
            line = at.line
    return line


def _unknown(shape: Section, name: Scalar, where: str, reading: Reading) -> str | None:
    """Tells it; the known key that was meant, as that one need not be told as missing."""
    if name.text in shape.later:
        reading.tell(name.line, _below(where, name.text), "not in this version of drkit yet")
        return None
    known = [key.name for key in shape.keys]
    near = difflib.get_close_matches(name.text, [*known, *sorted(shape.later)], n=1)
    home = reading.homes.get(name.text)
    if near:
        more = f"did you mean {near[0]}?"
    elif home is not None:
        more = f"it stands as {home}"
    else:
        more = f"known here: {', '.join(known)}"
    reading.tell(name.line, where, f"unknown key {quoted(name.text)} ({more})")
    return near[0] if near and near[0] in known else None
