"""Policies as they are read: values, defaults, folders, the environment."""

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from drkit.config import (
    Environment,
    environment,
    find_policy,
    load_folder,
    load_policy,
    parse_policy,
    read_folder,
    state_folder,
)
from drkit.errors import ConfigError
from drkit.model.policy import Encryption, Files, Policy, Repository, Source
from drkit.model.schedule import parse_rule
from tests.fixtures.policy_text import KEY, MINIMAL, OURS, SAFE, parse, refusal


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
    files = policy.source.files
    assert files is not None
    assert files.root == Path('/srv/한글 "x"')
    assert files.include == ("a", "b/")
    assert files.exclude == ("*.tmp",)
    assert files.one_file_system
    assert files.unreadable == "warn"
    assert not files.xattrs
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
