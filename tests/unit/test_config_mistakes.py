"""What each mistake in a policy is answered with, by file and line; and hostile files."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drkit.errors import ConfigError
from drkit.model.policy import Policy
from tests.fixtures.policy_text import KEY, MINIMAL, OURS, SAFE, parse, refusal


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
            "p.yaml:7: repository: unknown key 'zzz' (known here: store, copies, compression, ",
        ),
        (("name: shop\n", ""), "p.yaml:1: name: missing (what people and commands call it)"),
        (
            ("  files:\n    root: /srv/files\n", "  {}\n"),
            "p.yaml:4: source: one of these is missing: files, postgres",
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
            "p.yaml:6: source.files.unreadable: 'wran' is not one of fail, warn (did you mean warn",
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
            "p.yaml:7: repository.store: 's3:///var/backups/drkit' names no bucket",
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
        ("state: @x", "p.yaml:12: not YAML: found character"),
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
        ("verify: {level: 3}", "verify.level"),
        ("notify: []", "notify"),
        ("contacts: []", "contacts"),
        ("hooks: {}", "hooks"),
        ("evidence: x", "evidence"),
        ("group: [a]", "group"),
        ("allowances: {}", "allowances"),
        ("schedule: {drill: weekly sun 04:00}", "schedule.drill"),
        ("objectives: {wal_lag: 5 min}", "objectives.wal_lag"),
    ],
)
def test_what_is_planned_is_not_unknown(more: str, name: str) -> None:
    assert refusal(f"{MINIMAL}{more}\n").message == (
        f"p.yaml:12: {name}: not in this version of drkit yet"
    )


@pytest.mark.parametrize("kind", ["config", "logs", "git", "image", "buckets"])
def test_sources_of_later_versions(kind: str) -> None:
    text = MINIMAL.replace("  files:\n    root: /srv/files", f"  {kind}: {{}}")
    assert f"p.yaml:4: source.{kind}: not in this version of drkit yet" in refusal(text).message


@pytest.mark.parametrize("key", ["durable"])
def test_keys_of_later_versions(key: str) -> None:
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


LOCKED = "schedule: {full: weekly sat 02:00}\nretention: {keep: 30 days, lock: compliance}\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("", ""), "p.yaml:13: retention.lock: none of the stores can lock objects"),
        (("schedule: {full: weekly sat 02:00}", "schedule: {}"), "retention.lock: schedule: full"),
        (("keep: 30 days, ", ""), "retention.lock: retention: keep is missing"),
    ],
)
def test_a_lock_needs_an_end_and_a_store_that_can(change: tuple[str, str], message: str) -> None:
    assert message in refusal(MINIMAL + LOCKED.replace(*change)).message


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://b", "has a bucket's name of 1: it has 3 to 222 characters"),
        ("s3://", "names no bucket"),
        ("s3://bucket/.hidden", "the prefix in"),
        ("s3://bucket/x?regoin=eu", "has an option 'regoin'"),
        ("gs://bucket/x?region=eu", "known here: credentials, endpoint, project"),
        ("gs://bucket?endpoint=", "without a value"),
        ("s3://key:geheim@bucket/x", "password"),
        ("s3://geheim@bucket/x", "secret"),
    ],
)
def test_addresses_of_buckets(url: str, message: str) -> None:
    error = refusal(MINIMAL.replace("file:///var/backups/drkit", url))
    assert message in f"{error.message} {error.hint}"
    assert "geheim" not in f"{error.message} {error.hint}"


def test_a_copy_is_another_store() -> None:
    text = MINIMAL.replace("repository:\n", "repository:\n  copies: [file:///var/backups/drkit]\n")
    assert "p.yaml:7: repository.copies: file:///var/backups/drkit stands here twice" in (
        refusal(text).message
    )
