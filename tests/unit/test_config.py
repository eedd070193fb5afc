"""Policy files: what is read, and what each mistake is answered with, by file and line."""

import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from drkit.config import (
    Environment,
    environment,
    find_policy,
    load_folder,
    load_policy,
    parse_policy,
    policy_markdown,
    policy_schema,
    read_folder,
    state_folder,
)
from drkit.crypto.recipients import new_identity
from drkit.crypto.sign import new_signer
from drkit.errors import ConfigError, Exit
from drkit.model.policy import Encryption, Files, Policy, Repository, Source
from drkit.model.schedule import parse_rule

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "policies").glob("*.yaml"))
OURS, SAFE = (new_identity().recipient.text for _ in range(2))
KEY = new_signer(b"k" * 32)

MINIMAL = f"""\
version: 1
name: shop
source:
  files:
    root: /srv/files
repository:
  store: file:///var/backups/drkit
encryption:
  recipients:
    - {OURS}
    - {SAFE}
"""


def parse(text: str) -> Policy:
    return parse_policy(text.encode(), "p.yaml", "UTC")


def refusal(text: str | bytes) -> ConfigError:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ConfigError) as caught:
        parse_policy(data, "p.yaml", "UTC")
    error = caught.value
    assert error.exit_code == Exit.CONFIGURATION
    assert all(
        line.startswith("p.yaml:") and line.isprintable() for line in error.message.split("\n")
    )
    return error


def write(folder: Path, **texts: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)


# --- what is read


def test_the_minimal_policy_gets_every_default() -> None:
    assert parse(MINIMAL) == Policy(
        version=1,
        name="shop",
        source=Source(files=Files(root=Path("/srv/files"))),
        repository=Repository(store="file:///var/backups/drkit"),
        encryption=Encryption(recipients=(OURS, SAFE)),
    )


def test_every_key_arrives_as_its_type() -> None:
    signer = KEY.public_text
    policy = parse(
        MINIMAL.replace("name: shop", "name: shop\nid: old.shop")
        .replace(
            "root: /srv/files",
            "root: '/srv/한글 \"x\"'\n    include: [a, b/]\n    exclude: ['*.tmp']\n"
            "    one_file_system: true\n    unreadable: warn\n    xattrs: false",
        )
        .replace(
            "/drkit\n", "/drkit\n  compression: zstd:19\n  bandwidth: 80 MB/s\n  verify: none\n"
        )
        + f"  signers: {{writers: ['{signer}'], maintainers: ['{signer}']}}\n"
        + "schedule: {full: daily 02:00, incremental: hourly, timezone: Asia/Seoul}\n"
        + "retention: {keep: 30 days, weekly: 8, monthly: 12, yearly: 3, patience: 48h}\n"
        + "objectives: {rpo: 24h, rto: 4h}\nstate: /var/lib/other\n"
    )
    assert policy.domain_name == "old.shop"
    assert policy.source.files.root == Path('/srv/한글 "x"')
    assert policy.source.files.include == ("a", "b/")
    assert policy.source.files.exclude == ("*.tmp",)
    assert policy.source.files.one_file_system
    assert policy.source.files.unreadable == "warn"
    assert not policy.source.files.xattrs
    assert policy.repository.compression == 19
    assert policy.repository.bandwidth == 80_000_000
    assert policy.repository.verify == "none"
    assert policy.encryption.signers.writers == {KEY.public}
    assert policy.encryption.signers.maintainers == {KEY.public}
    assert policy.encryption.signers.verifiers == frozenset()
    assert policy.schedule.full == parse_rule("daily 02:00")
    assert policy.schedule.timezone == ZoneInfo("Asia/Seoul")
    assert policy.retention.keep == timedelta(days=30)
    assert (policy.retention.weekly, policy.retention.patience) == (8, timedelta(days=2))
    assert (policy.objectives.rpo, policy.objectives.rto) == (timedelta(days=1), timedelta(hours=4))
    assert policy.state == Path("/var/lib/other")


def test_the_text_is_kept_as_it_was_and_counts_for_nothing() -> None:
    commented = MINIMAL + "# 주석\n"
    assert parse(commented).text == commented
    assert parse(commented) == parse(MINIMAL)
    assert commented not in repr(parse(commented))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: b"\xef\xbb\xbf# x\r\n---\r\n" + data.replace(b"\n", b"\r\n"),
        lambda data: data + b"...\n",
        lambda data: data.rstrip(b"\n"),
    ],
    ids=["bom", "crlf", "both", "end", "cut"],
)
def test_what_editors_do_to_files_is_no_mistake(change: Callable[[bytes], bytes]) -> None:
    assert parse_policy(change(MINIMAL.encode()), "p.yaml", "UTC") == parse(MINIMAL)


def test_words_stay_words() -> None:
    """YAML takes no, 1_000 and 12:30 for a truth and numbers; a policy does not."""
    policy = parse(MINIMAL.replace("name: shop", "name: no") + "schedule: {full: daily 12:30}\n")
    assert policy.name == "no"
    assert policy.schedule.full == parse_rule("daily 12:30")


def test_one_recipient_is_enough_for_who_says_so() -> None:
    alone = MINIMAL.replace(f"    - {SAFE}\n", "")
    assert refusal(alone).message.startswith(
        "p.yaml:9: encryption.recipients: one recipient alone: when its key is lost"
    )
    assert parse(alone + "  single_recipient: true\n").encryption.recipients == (OURS,)


def test_times_are_the_machines_own_unless_said() -> None:
    data = MINIMAL.encode()
    assert parse_policy(data, "p", "Asia/Seoul").schedule.timezone == ZoneInfo("Asia/Seoul")
    assert parse_policy(data, "p", "no/zone").schedule.timezone == UTC
    said = data + b"schedule: {timezone: Europe/Berlin}\n"
    assert parse_policy(said, "p", "Asia/Seoul").schedule.timezone == ZoneInfo("Europe/Berlin")
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert parse_policy(data, "p").schedule.timezone.utcoffset(moment) is not None


# --- what is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("name: shop", "nam: shop"), "p.yaml:2: unknown key 'nam' (did you mean name?)"),
        (("root:", "rot:"), "p.yaml:5: source.files: unknown key 'rot' (did you mean root?)"),
        (
            ("name: shop", "name: shop\ncompression: zstd:3"),
            "p.yaml:3: unknown key 'compression' (it stands as repository.compression)",
        ),
        (
            ("store:", "zzz: 1\n  store:"),
            "p.yaml:7: repository: unknown key 'zzz' (known here: store, compression, bandwidth, ",
        ),
        (("name: shop\n", ""), "p.yaml:1: name: missing (what people and commands call it)"),
        (
            ("  files:\n    root: /srv/files\n", "  {}\n"),
            "p.yaml:4: source.files: missing (a file tree)",
        ),
        (
            ("version: 1", "version: 2"),
            "p.yaml:1: version: '2' is of another drkit: this one reads version 1",
        ),
        (("version: 1", "version: one"), "p.yaml:1: version: 'one' is not a version: write 1"),
        (("name: shop", "name: Shop"), "p.yaml:2: name: 'Shop' is not a name: small letters"),
        (("name: shop", "name: 백업"), "p.yaml:2: name: '백업' is not a name"),
        (("name: shop", "name: ../x"), "p.yaml:2: name: '../x' is not a name"),
        (("name: shop", f"name: {'a' * 64}"), "p.yaml:2: name: 'aaa"),
        (("name: shop", "name: [shop]"), "p.yaml:2: name: a list where a name is wanted"),
        (("name: shop", "name:"), "p.yaml:2: name: has no value"),
        (("name: shop", "name: null"), "p.yaml:2: name: has no value"),
        (
            ("name: shop", "name: shop\nname: x"),
            "p.yaml:3: name: stands here twice, first in line 2",
        ),
        (
            ("/srv/files", "srv/files"),
            "p.yaml:5: source.files.root: 'srv/files' is not an absolute",
        ),
        (("/srv/files", "/srv/../etc"), "p.yaml:5: source.files.root: '/srv/../etc' holds '..'"),
        (
            ("/srv/files", "/srv\n    xattrs: yes"),
            "p.yaml:6: source.files.xattrs: 'yes' is not true or false: write true or false",
        ),
        (
            ("/srv/files", "/srv\n    unreadable: wran"),
            "p.yaml:6: source.files.unreadable: 'wran' is not one of fail, warn (did you mean warn?)",
        ),
        (
            ("/srv/files", "/srv\n    exclude: '*.tmp'"),
            "p.yaml:6: source.files.exclude: '*.tmp' where a list is wanted: write [*.tmp]",
        ),
        (
            ("/srv/files", "/srv\n    exclude: [ok, a//b]"),
            "p.yaml:6: source.files.exclude: 'a//b' matches nothing",
        ),
        (
            ("/srv/files", "/srv\n    exclude:\n      - ok\n      - {a: b}"),
            "p.yaml:8: source.files.exclude: keys with values where patterns",
        ),
        (
            ("file:///var", "s3:///var"),
            "p.yaml:7: repository.store: s3:// stores are not in this version of drkit yet",
        ),
        (("file:///var", "file://var"), "p.yaml:7: repository.store: 'file://var/backups/drkit'"),
        (
            ("file:///var", "ftp:///var"),
            "p.yaml:7: repository.store: 'ftp:///var/backups/drkit' is",
        ),
        (
            ("file:///var", "s3://u:geheim@h/var"),
            "p.yaml:7: repository.store: a password stands in the address",
        ),
        (
            ("/drkit\n", "/drkit\n  compression: lz4\n"),
            "p.yaml:8: repository.compression: 'lz4' is not a compression: write zstd:1 to zstd:19",
        ),
        (("/drkit\n", "/drkit\n  compression: zstd:22\n"), "p.yaml:8: repository.compression:"),
        (
            ("/drkit\n", "/drkit\n  bandwidth: 80 mb\n"),
            "p.yaml:8: repository.bandwidth: '80 mb' is not a rate: write it like 80 MB/s",
        ),
        (("/drkit\n", "/drkit\n  bandwidth: 0 MB/s\n"), "p.yaml:8: repository.bandwidth: '0 MB/s'"),
        (
            (f"    - {OURS}\n    - {SAFE}", "    []"),
            "p.yaml:10: encryption.recipients: an empty list",
        ),
        ((SAFE, OURS), "p.yaml:11: encryption.recipients: age1"),
        (
            (SAFE, SAFE[:-1] + ("q" if SAFE[-1] != "q" else "p")),
            "p.yaml:11: encryption.recipients:",
        ),
        ((SAFE, "age1short"), "p.yaml:11: encryption.recipients: 'age1short' is no age recipient"),
        (
            (SAFE, "ssh-ed25519 AAAA"),
            "p.yaml:11: encryption.recipients: ssh-ed25519 AAAA… is an SSH",
        ),
    ],
)
def test_mistakes(change: tuple[str, str], message: str) -> None:
    assert change[0] in MINIMAL
    found = refusal(MINIMAL.replace(*change)).message.split("\n")
    assert any(line.startswith(message) for line in found), found


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            "objectives: {rpo: 24h, rto: 10 parsecs}",
            "p.yaml:12: objectives.rto: '10 parsecs' is not a duration",
        ),
        (
            "objectives: {rto: 4}",
            "p.yaml:12: objectives.rto: '4' has no unit: write s, min, h, days or weeks after it",
        ),
        ("objectives: 4h", "p.yaml:12: objectives: '4h' where keys with values are wanted"),
        ("retention: {weekly: 8}", "p.yaml:12: retention.weekly: keep is missing: this thins out"),
        (
            "retention: {keep: 30 days, weekly: -1}",
            "p.yaml:12: retention.weekly: '-1' is not a num",
        ),
        ("retention: {keep: 30 days, weekly: 1e3}", "p.yaml:12: retention.weekly: '1e3' is not"),
        (
            "retention: {keep: 30 days, weekly: '8'}",
            "p.yaml:12: retention.weekly: '8' is not a num",
        ),
        (
            "retention: {keep: 30 days, weekly: 1001}",
            "p.yaml:12: retention.weekly: '1001' is not a number, 0 to 1000",
        ),
        ("retention: {keep: 0 days}", "p.yaml:12: retention.keep: '0 days' is nothing"),
        ("retention:\n  # all of it\n", "p.yaml:12: retention: has no value"),
        ("retention: []", "p.yaml:12: retention: a list where keys with values are wanted"),
        (
            "schedule: {full: daily 25:00}",
            "p.yaml:12: schedule.full: 'daily 25:00': '25:00' is not",
        ),
        ("schedule: {ful: daily}", "p.yaml:12: schedule: unknown key 'ful' (did you mean full?)"),
        (
            "schedule: {timezone: Mars/Olympus}",
            "p.yaml:12: schedule.timezone: 'Mars/Olympus' is not a time zone",
        ),
        ("schedule: {timezone: ../../etc/passwd}", "p.yaml:12: schedule.timezone: '../../etc/pass"),
        ("schedule: {timezone: Europe}", "p.yaml:12: schedule.timezone: 'Europe' is not a time"),
        ('schedule: {timezone: "a\\0b"}', "p.yaml:12: schedule.timezone: 'a\\x00b' is not a time"),
        (
            "  signers: {maintainers: ['" + KEY.public_text + "']}",
            "p.yaml:12: encryption.signers: no writers",
        ),
        ("  signers: {writers: ['ed25519:12']}", "p.yaml:12: encryption.signers.writers: 'ed25519"),
        ("  single_recipient: on", "p.yaml:12: encryption.single_recipient: 'on' is not true or"),
        ("state: var", "p.yaml:12: state: 'var' is not an absolute path"),
        ('"a\\nb": 1', "p.yaml:12: unknown key 'a\\nb' (known here: version, name"),
        ('"\\e[31m": 1', "p.yaml:12: unknown key '\\x1b[31m'"),
        ('state: "\\e[31m"', "p.yaml:12: state: '\\x1b[31m' is not an absolute path"),
        ("? [a]\n: 1", "p.yaml:12: a key must be a word"),
        ("<<: {name: x}", "p.yaml:12: unknown key '<<'"),
        ("---\nname: two", "p.yaml:12: a second document (---): one policy a file"),
        ("state: &a /x", "p.yaml:12: anchors and aliases (& and *) are not accepted"),
        ("state: *a", "p.yaml:12: anchors and aliases (& and *) are not accepted"),
        ("state: !!python/object:os.system x", "p.yaml:12: tags are not accepted: 'tag:yaml.org"),
        ("state: [", "p.yaml:12: not YAML: "),
        ("state: {a", "p.yaml:12: not YAML: "),
        ("state: 'a", "p.yaml:12: not YAML: "),
        ("\tstate: /x", "p.yaml:12: a tab at the start of a line: YAML wants blanks there"),
        ("state: @x", "p.yaml:12: not YAML: found character that cannot start any token"),
        (" state: /x", "p.yaml:12: not YAML: "),
        ("state: /x: /y", "p.yaml:12: not YAML: mapping values are not allowed"),
    ],
)
def test_mistakes_in_what_is_added(more: str, message: str) -> None:
    found = refusal(f"{MINIMAL}{more}\n").message.split("\n")
    assert any(line.startswith(message) for line in found), found


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ("canary: {every: 30 s}", "canary"),
        ("verify: {level: 3}", "verify"),
        ("notify: []", "notify"),
        ("contacts: []", "contacts"),
        ("hooks: {}", "hooks"),
        ("evidence: x", "evidence"),
        ("group: [a]", "group"),
        ("allowances: {}", "allowances"),
        ("schedule: {drill: weekly sun 04:00}", "schedule.drill"),
        ("retention: {keep: 1 day, lock: none}", "retention.lock"),
        ("objectives: {wal_lag: 5 min}", "objectives.wal_lag"),
    ],
)
def test_what_is_planned_is_not_unknown(more: str, name: str) -> None:
    assert refusal(f"{MINIMAL}{more}\n").message == (
        f"p.yaml:12: {name}: not in this version of drkit yet"
    )


@pytest.mark.parametrize("kind", ["postgres", "config", "logs", "git", "image", "buckets"])
def test_sources_of_later_versions(kind: str) -> None:
    text = MINIMAL.replace("  files:\n    root: /srv/files", f"  {kind}: {{}}")
    assert f"p.yaml:4: source.{kind}: not in this version of drkit yet" in refusal(text).message


@pytest.mark.parametrize("key", ["copies", "durable"])
def test_copies_of_later_versions(key: str) -> None:
    text = MINIMAL.replace("repository:\n", f"repository:\n  {key}: x\n")
    assert refusal(text).message == f"p.yaml:7: repository.{key}: not in this version of drkit yet"


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    text = MINIMAL.replace("shop", "Shop").replace("root", "rot") + "objectives: {rto: soon}\n"
    lines = refusal(text).message.split("\n")
    assert [line.split(": ")[0] for line in lines] == ["p.yaml:2", "p.yaml:5", "p.yaml:12"]


def test_a_hundred_mistakes_are_counted() -> None:
    lines = refusal(MINIMAL + "".join(f"zz{n}: 1\n" for n in range(100))).message.split("\n")
    assert len(lines) == 21
    assert lines[-1] == "p.yaml: and 80 more"


SECRET = "AGE-SECRET-KEY-1" + "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L" * 2


@pytest.mark.parametrize(
    "text",
    [
        MINIMAL.replace(SAFE, SECRET[:74]),
        MINIMAL.replace(SAFE, SECRET[:74].lower()),
        MINIMAL + f"# {SECRET[:74]}\n",
        MINIMAL + f"state: {SECRET[:74]}\n",
        MINIMAL + f"{SECRET[:74]}: x\n",
        MINIMAL + "state: DRKIT-SIGNER-1 " + "ab" * 32 + "\n",
        MINIMAL + "state: |\n  -----BEGIN OPENSSH PRIVATE KEY-----\n  b3BlbnNzaC1rZXk\n",
    ],
)
def test_private_keys_are_refused_and_never_shown(text: str) -> None:
    error = refusal(text)
    assert "a private key stands in a policy" in error.message
    assert "stolen" in (error.hint or "")
    shown = f"{error.message} {error.hint}".lower()
    assert not any(part in shown for part in ("qpzry", "abab", "b3blbn"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "p.yaml:1: an empty file"),
        (b"\n\n# nothing\n", "p.yaml:1: an empty file"),
        (b"---\n", "p.yaml:1: an empty file"),
        (b"null", "p.yaml:1: not a policy"),
        (b"[]", "p.yaml:1: not a policy: keys with values are wanted"),
        (b"just words", "p.yaml:1: not a policy"),
        (b"version: 1\nname: \xff\n", "p.yaml:2: not UTF-8: byte 0xff"),
        (MINIMAL.encode("utf-16"), "p.yaml:1: not UTF-8: byte 0xff"),
        (MINIMAL.encode() + "name: 백업".encode("cp949"), "p.yaml:12: not UTF-8: byte 0xb9"),
        (b"version: 1\nname: a\x00b\n", "p.yaml:2: a control character (0x00)"),
        (b"\x00" * 4096, "p.yaml:1: a control character (0x00)"),
        (b"version: 1\r\nname: \x1b[31m\r\n", "p.yaml:2: a control character (0x1b)"),
        (b"\x7fELF", "p.yaml:1: a control character (0x7f)"),
        (b"[" * 1000 + b"]" * 1000, "p.yaml:1: nested more than 16 deep"),
        (b"[" * 200_000, "p.yaml:1: nested more than 16 deep"),
        (b"a: " + b"{a: " * 1000, "p.yaml:1: nested more than 16 deep"),
        (b"- " * 1000 + b"a", "p.yaml:1: nested more than 16 deep"),
        (b"".join(b" " * n + b"a:\n" for n in range(300)), "p.yaml:17: nested more than 16 deep"),
        (b"a: [" + b"x," * 100_000 + b"]", "p.yaml:1: more than 50000 values"),
        (b"a: 1\n" * 60_000, "p.yaml:1: a policy may have 256 KiB at most"),
        (b"x" * (2 << 20), "p.yaml:1: a policy may have 256 KiB at most"),
        (b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n", "p.yaml:1: anchors and aliases"),
        (b"%YAML 3.0\n---\nname: x\n", "p.yaml:1: not YAML: "),
    ],
)
def test_hostile_files(data: bytes, message: str) -> None:
    assert refusal(data).message.startswith(message)


def test_a_list_of_a_thousand_lists() -> None:
    text = MINIMAL.replace("    - " + OURS, "    - [a]\n" * 1000 + "    - " + OURS)
    assert refusal(text).message.startswith("p.yaml:10: encryption.recipients: a list where age")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_nothing_but_a_config_error_comes_out(data: bytes) -> None:
    refusal(data)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(MINIMAL)), st.integers(0, 40), st.text(max_size=20))
def test_nor_out_of_a_policy_that_somebody_broke(at: int, gone: int, put: str) -> None:
    text = MINIMAL[:at] + put + MINIMAL[at + gone :]
    try:
        assert isinstance(parse(text), Policy)
    except ConfigError as error:
        assert error.message.startswith("p.yaml:")  # noqa: PT017 - either outcome is right


# --- files and folders


def test_a_file_is_named_as_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "정책 'a'.yaml"
    path.write_text(MINIMAL)
    assert load_policy(path, "UTC").origin == str(path)
    path.write_text(MINIMAL + "x: 1\n")
    with pytest.raises(ConfigError, match=re.escape(f"{path}:12: unknown key 'x'")):
        load_policy(path)


def test_odd_file_names_stay_on_one_line(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\nb\xff.yaml"))
    path.write_text("x: 1\n")
    with pytest.raises(ConfigError) as caught:
        load_policy(path)
    assert all(line.isprintable() for line in caught.value.message.split("\n"))
    caught.value.message.encode()


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    cases = {
        "none.yaml": "no such file or directory",
        "pipe.yaml": "not a file",
        "loop.yaml": "too many levels of symbolic links",
        "a" * 300: "file name too long",
        "nul\0.yaml": "no file can be called that",
        ".": "not a file",
    }
    for name, message in cases.items():
        with pytest.raises(ConfigError, match=message) as caught:
            load_policy(tmp_path / name)
        assert caught.value.message.isprintable()
    with pytest.raises(ConfigError, match="not a file"):
        load_policy(Path("/dev/zero"))


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    write(tmp_path, b=MINIMAL.replace("shop", "alpha"), a=MINIMAL.replace("shop", "beta"))
    (tmp_path / ".hidden.yaml").write_text("x")
    (tmp_path / "old.yaml~").write_text("x")
    (tmp_path / "policy.schema.json").write_text("x")
    (tmp_path / "c.yml").write_text(MINIMAL.replace("shop", "gamma"))
    assert [p.name for p in load_folder([tmp_path])] == ["alpha", "beta", "gamma"]


def test_the_first_folder_that_holds_policies_is_used_alone(tmp_path: Path) -> None:
    first, second = tmp_path / "policies", tmp_path / "etc"
    write(second, a=MINIMAL)
    assert [p.name for p in load_folder([first, second])] == ["shop"]
    first.mkdir()
    assert [p.name for p in load_folder([first, second])] == ["shop"]
    write(first, b=MINIMAL.replace("shop", "other"))
    assert [p.name for p in load_folder([first, second])] == ["other"]


def test_no_policy_at_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no policy: looked for") as caught:
        load_folder([tmp_path / "a", tmp_path])
    assert str(tmp_path / "a") in caught.value.message
    assert caught.value.hint == "drkit init writes one"
    assert read_folder([tmp_path]).policies == ()


def test_two_of_one_name_are_refused_and_the_others_go_on(tmp_path: Path) -> None:
    write(tmp_path, a=MINIMAL, b=MINIMAL + "# again\n", c=MINIMAL.replace("shop", "other"))
    folder = read_folder([tmp_path])
    assert [p.name for p in folder.policies] == ["other"]
    message = f"{tmp_path}/a.yaml and {tmp_path}/b.yaml are both called shop"
    assert [e.message for e in folder.broken] == [message]
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_folder([tmp_path])
    with pytest.raises(ConfigError, match="are both called shop"):
        find_policy("shop", [tmp_path])


def test_two_of_one_domain_are_refused(tmp_path: Path) -> None:
    renamed = MINIMAL.replace("name: shop", "name: store\nid: shop")
    write(tmp_path, a=MINIMAL, b=renamed)
    with pytest.raises(ConfigError, match="are both the domain shop in file:///var"):
        load_folder([tmp_path])
    write(tmp_path, b=renamed.replace("/var/", "/mnt/"))
    assert len(load_folder([tmp_path])) == 2


def test_a_broken_file_does_not_hide_the_others(tmp_path: Path) -> None:
    write(tmp_path, a=MINIMAL, b="name: [", c="x: 1")
    folder = read_folder([tmp_path])
    assert [p.name for p in folder.policies] == ["shop"]
    assert [e.message.split(":")[0] for e in folder.broken] == [
        f"{tmp_path}/b.yaml",
        f"{tmp_path}/c.yaml",
    ]
    assert find_policy("shop", [tmp_path]).name == "shop"
    with pytest.raises(ConfigError, match=re.escape("b.yaml:1: not YAML")):
        find_policy("other", [tmp_path])


def test_a_policy_is_found_by_name_or_path(tmp_path: Path) -> None:
    write(tmp_path, a=MINIMAL, b=MINIMAL.replace("shop", "store"))
    assert find_policy("store", [tmp_path]).origin == f"{tmp_path}/b.yaml"
    assert find_policy(f"{tmp_path}/b.yaml", []).name == "store"
    with pytest.raises(ConfigError) as caught:
        find_policy("shpo", [tmp_path])
    assert caught.value.message == "no policy is called 'shpo': known are shop, store"
    assert caught.value.hint == "did you mean shop?"
    with pytest.raises(ConfigError, match="no such file"):
        find_policy("missing.yaml", [tmp_path])


# --- the environment


def test_the_environment() -> None:
    assert environment({"TZ": "UTC"}) == Environment()
    found = environment(
        {
            "DRKIT_STATE": "/s",
            "DRKIT_IDENTITY_FILE": "/k",
            "NO_COLOR": "1",
            "XDG_STATE_HOME": "/x",
            "HOME": "/h",
            "TZ": ":/usr/share/zoneinfo/Asia/Seoul",
        }
    )
    assert found == Environment(
        state=Path("/s"),
        identity_file="/k",
        no_color=True,
        xdg_state_home=Path("/x"),
        home=Path("/h"),
        timezone="Asia/Seoul",
    )
    assert environment({"NO_COLOR": "", "HOME": "", "XDG_STATE_HOME": "relative"}).home is None
    assert environment({}).timezone
    assert isinstance(environment(), Environment)
    with pytest.raises(ConfigError, match="DRKIT_STATE: 'here' is not an absolute path"):
        environment({"DRKIT_STATE": "here"})


def test_the_state_folder() -> None:
    plain, said = parse(MINIMAL), parse(MINIMAL + "state: /policy\n")
    full = Environment(state=Path("/s"), xdg_state_home=Path("/x"), home=Path("/h"))
    user = Environment(xdg_state_home=Path("/x"), home=Path("/h"))
    assert state_folder(full, said, 0) == Path("/s")
    assert state_folder(user, said, 0) == Path("/policy")
    assert state_folder(user, plain, 0) == Path("/var/lib/drkit")
    assert state_folder(user, plain, 1000) == Path("/x/drkit")
    assert state_folder(Environment(home=Path("/h")), None, 1000) == Path("/h/.local/state/drkit")
    with pytest.raises(ConfigError, match="neither DRKIT_STATE nor HOME is set"):
        state_folder(Environment(), plain, 1000)


# --- samples, schema, documents


def as_editors_see_it(text: str) -> object:
    import yaml  # noqa: PLC0415 - the one test that reads YAML as editors do

    return yaml.safe_load(text)


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    made = json.loads(policy_schema())
    Draft202012Validator.check_schema(made)
    return Draft202012Validator(made)


def test_there_are_samples() -> None:
    assert {"files.yaml", "minimal.yaml"} <= {path.name for path in SAMPLES}


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


def test_each_key_is_documented_and_in_the_complete_sample() -> None:
    keys = keys_of(json.loads(policy_schema()))
    sections = dict(
        part.split("\n", 1) for part in policy_markdown().split("\n## ") if "\n" in part
    )
    sample = (ROOT / "policies" / "files.yaml").read_text()
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
    assert "default" not in keys["retention.keep"]
