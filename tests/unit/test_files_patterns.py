"""Patterns mean what .gitignore says they mean, and are quick."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drkit.errors import ConfigError
from drkit.files.patterns import compiled

CASES = [
    # patterns, path ("/" at the end: a folder), matches
    ("*.tmp", "a.tmp", True),
    ("*.tmp", "deep/down/a.tmp", True),
    ("*.tmp", "a.tmp.txt", False),
    ("*.tmp", ".tmp", True),
    ("cache", "x/cache", True),
    ("cache", "x/cache/", True),
    ("cache", "xcache", False),
    ("/cache", "cache/", True),
    ("/cache", "x/cache", False),
    ("a/b", "a/b", True),
    ("a/b", "x/a/b", False),
    ("build/", "build/", True),
    ("build/", "x/build/", True),
    ("build/", "build", False),
    ("**/node_modules/", "node_modules/", True),
    ("**/node_modules/", "x/y/node_modules/", True),
    ("**/node_modules/", "x/y/node_modules", False),
    ("**/a/b", "a/b", True),
    ("**/a/b", "x/y/a/b", True),
    ("**/a/b", "x/ya/b", False),
    ("a/**/b", "a/b", True),
    ("a/**/b", "a/x/y/b", True),
    ("a/**/b", "a/xb", False),
    ("a/**", "a/x/y", True),
    ("a/**", "a/", False),
    ("**", "anything/at all", True),
    ("a*c", "abc", True),
    ("a*c", "a/c", False),
    ("/a*/c", "ab/c", True),
    ("/a*/c", "a/b/c", False),
    ("?", "x", True),
    ("?", "xy", False),
    ("?", "\udcff", True),
    ("a?b", "a/b", False),
    ("[a-c]1", "b1", True),
    ("[!a-c]1", "b1", False),
    ("[^a-c]1", "d1", True),
    ("[]x]", "]", True),
    ("[!/]x", "a/x", False),
    ("[.]hidden", "xhidden", False),
    ("[a", "[a", True),
    ("a+(b)$|^", "a+(b)$|^", True),
    (r"\*", "*", True),
    (r"\*", "x", False),
    (r"\!keep", "!keep", True),
    (r"a\\b", "a\\b", True),
    ("#x", "#x", True),
    ("한국*", "한국어", True),
    ("line\nbreak", "line\nbreak", True),
    ("*", "line\nbreak", True),
    ("x", "x\n", False),
    (" lead", " lead", True),
]


def matches(patterns: list[str], path: str) -> bool:
    folder = path.endswith("/")
    path = path.removesuffix("/")
    return compiled(patterns).match(path, path.rfind("/") + 1, folder=folder)


@pytest.mark.parametrize(("pattern", "path", "expected"), CASES)
def test_one_pattern(pattern: str, path: str, expected: bool) -> None:
    assert matches([pattern], path) is expected


def test_the_last_pattern_that_matches_decides() -> None:
    rules = ["*.log", "!keep.log", "/logs/*", "!/logs/today.log"]
    assert matches(rules, "x/a.log")
    assert not matches(rules, "x/keep.log")
    assert matches(rules, "logs/keep.log")
    assert not matches(rules, "logs/today.log")
    assert matches([*rules, "today.log"], "logs/today.log")
    assert not matches(["!x"], "x")


@pytest.mark.parametrize("pattern", ["", "/", "//", "!", "a//b", "../x", "a/./b", "a\0b", "[z-a]"])
def test_patterns_that_can_match_nothing_are_refused(pattern: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compiled([pattern])
    assert repr(pattern) in refused.value.message


@pytest.mark.parametrize(
    ("pattern", "leads", "not_leads"),
    [
        ("/etc/nginx/*.conf", ["etc", "etc/nginx"], ["var", "etc/ssh", "etc/nginx/sites"]),
        ("*.conf", ["etc", "a/b/c"], []),
        ("/x", [], ["x", "y"]),
        ("a/**/b", ["a", "a/x", "a/x/y"], ["b", "ab"]),
        ("**/a/b", ["x", "x/y"], []),
        ("a/**", ["a"], ["b"]),
        ("/a*/b/c", ["ax", "a/b"], ["b", "a/c"]),
    ],
)
def test_folders_that_lead_there(pattern: str, leads: list[str], not_leads: list[str]) -> None:
    rules = compiled([pattern])
    assert [folder for folder in leads if not rules.lead_through(folder)] == []
    assert [folder for folder in not_leads if rules.lead_through(folder)] == []


NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12
).filter(lambda name: name not in {".", ".."})


@given(st.lists(NAMES, min_size=1, max_size=4))
def test_an_escaped_path_matches_itself_and_nothing_below(parts: list[str]) -> None:
    path = "/".join(parts)
    pattern = "/" + "".join(c if c == "/" else "\\" + c for c in path)
    assert matches([pattern], path)
    assert not matches([pattern], path + "x")
    assert not matches([pattern], "x/" + path)
    assert all(compiled([pattern]).lead_through("/".join(parts[:n])) for n in range(1, len(parts)))


@given(st.lists(NAMES, min_size=1, max_size=5), st.text("*?[]!\\/ab-", max_size=12))
def test_no_pattern_breaks_the_matcher(parts: list[str], pattern: str) -> None:
    try:
        rules = compiled([pattern])
    except ConfigError:
        return
    path = "/".join(parts)
    rules.match(path, path.rfind("/") + 1, folder=False)
    rules.lead_through(path)


def test_a_hundred_thousand_paths_are_quick() -> None:
    rules = compiled(["*.tmp", "/cache", "**/node_modules/", "*.py[co]", "!keep.tmp", "a/**/b"])
    paths = [f"some/folder {n % 100}/and another/file number {n}.txt" for n in range(100_000)]
    began = time.process_time()
    for path in paths:
        rules.match(path, 35, folder=False)
    assert time.process_time() - began < 1.0  # 0.15 s on a quiet machine
