"""docs/permissions against what drkit asks for, both ways: each machine has just its own rights."""

import re
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path

import pytest
import yaml
from botocore.exceptions import ClientError

from drkit.errors import StoreError
from drkit.model.retention import LockMode
from drkit.stores import open_store
from drkit.stores.base import Lock, Store
from tests.fixtures import iam, roles
from tests.fixtures.gcs_double import GcsDouble, gcs_double
from tests.fixtures.kinds import body
from tests.fixtures.lockable import RealClock, mended
from tests.fixtures.proxy import Plan, Proxy, Seen
from tests.fixtures.repo import DAY, Repo, repo
from tests.fixtures.servers import Server, ministack

DOCUMENTS = Path(__file__).parents[2] / "docs/permissions"
PREFIX = "shop"
LOCKS: tuple[LockMode | None, ...] = (None, "compliance")
CLOUDS = ("gcs", "s3")
MACHINES = ("host", "drill", "witness", "keeper")  # a witness is a drill machine with a finding


@dataclass(slots=True, kw_only=True)
class Use:
    """What one machine asked for."""

    granted: set[str] = field(default_factory=set)
    denied: set[tuple[str, str]] = field(default_factory=set)  # right and object
    created: set[str] = field(default_factory=set)


Used = dict[str, Use]


def work(
    r: Repo,
    stores: dict[str, Store],
    second: Store,
    lock: LockMode | None,
    day: timedelta,
    theft: Callable[[Repo], None],
) -> None:
    """A life of the repository; `stores`: by machine, each with its own credentials."""

    def until() -> Lock | None:
        return None if lock is None else Lock(mode=lock, until=r.clock.now() + 5 * day)

    roles.init(r, stores["host"], second, lock)
    roles.backups(r, stores["host"], until())
    roles.copied(r, stores["host"], second, lock)
    theft(r)
    roles.drill(r, stores["drill"])
    roles.testified(r, stores["witness"], r.root / "witness", lock)
    roles.copied(r, stores["host"], second, lock)
    r.clock.move(7 * day)
    roles.backups(r, stores["host"], until())
    roles.keeper(r, stores["keeper"], lock, day)


def nothing(_r: Repo) -> None:
    """Nobody steals anything."""


# Google Cloud Storage: custom roles, each run with exactly that set.


def gcs_role(name: str) -> set[str]:
    said = yaml.safe_load((DOCUMENTS / f"gcs-{name}.yaml").read_text())
    return set(said["includedPermissions"])


def gcs_rights(machine: str, lock: LockMode | None) -> frozenset[str]:
    found = gcs_role("drill") | gcs_role("evidence") if machine == "witness" else gcs_role(machine)
    locks = lock is not None and machine != "drill"
    return frozenset(found | gcs_role("lock") if locks else found)


def forever(double: GcsDouble) -> None:
    """Google's own library signs with the real time: tokens must outlast a clock that is moved."""
    world = double.world
    for token, (who, _) in list(world.tokens.items()):
        world.tokens[token] = (who, datetime.max.replace(tzinfo=UTC))


def gcs_used(root: Path, lock: LockMode | None) -> Used:
    r = repo(root)
    r.clock.at = datetime.now(UTC)
    with gcs_double(clock=r.clock.store_now) as double:
        first, second = (double.bucket(object_retention=lock is not None) for _ in range(2))
        keys = {m: double.identity(m, gcs_rights(m, lock)) for m in MACHINES}

        def opened(machine: str, bucket: str) -> Store:
            store = open_store(double.url(bucket, PREFIX, keys[machine]), r.system)
            store.prepare()
            return store

        stores = {machine: opened(machine, first) for machine in MACHINES}
        copy = opened("host", second)
        forever(double)
        work(r, stores, copy, lock, DAY, nothing)
        return {machine: _seen(double, double.account(keys[machine]).email) for machine in MACHINES}


def _seen(double: GcsDouble, email: str) -> Use:
    use = Use()
    for one in double.log:
        if one.identity != email:
            continue
        missing = one.needed - (double.world.accounts[email].permissions or frozenset())
        use.granted |= one.needed - missing
        use.denied |= {(right, one.object) for right in missing}
        if one.operation == "storage.objects.insert" and one.status == 200:
            use.created.add(one.object)
    return use


# S3: what the policies do not allow, the proxy before the server refuses.

VALUES = {"BUCKET": "*", "PREFIX": PREFIX, "ACCOUNT": "123456789012", "LOCK_DAYS": "60"}


def s3_document(name: str) -> tuple[iam.Statement, ...]:
    return iam.filled((DOCUMENTS / f"s3-{name}.json").read_text(), VALUES)


def s3_documents(machine: str, lock: LockMode | None) -> iam.Documents:
    role = "drill" if machine == "witness" else machine
    own = s3_document(role)
    return iam.Documents(
        role=f"arn:aws:iam::{VALUES['ACCOUNT']}:role/drkit-{role}",
        own=own if lock is None or machine == "drill" else own + s3_document("lock"),
        bucket=s3_document("bucket"),
    )


def hide_packs(server: Server, bucket: str, r: Repo) -> None:
    """So that versions are read by their ids."""
    for stored in r.store.list("domains/"):
        if "/packs/" in stored.name:
            server.client().delete_object(Bucket=bucket, Key=f"{PREFIX}/{stored.name}")


def either(first: Plan, second: Plan) -> Plan:
    return lambda seen: first(seen) or second(seen)


def s3_used(root: Path, lock: LockMode | None) -> Used:
    server, r = ministack(), repo(root)
    r.clock = RealClock()
    r.system = replace(r.system, now=r.clock.now)
    first, second = (server.bucket(lock=lock is not None) for _ in range(2))
    documents = {machine: s3_documents(machine, lock) for machine in MACHINES}
    with ExitStack() as stack:
        proxies = {
            machine: stack.enter_context(Proxy(server.endpoint, either(iam.enforced(said), mended)))
            for machine, said in documents.items()
        }

        def opened(machine: str, bucket: str) -> Store:
            through = Server(endpoint=proxies[machine].url)
            return open_store(through.url(bucket, PREFIX), r.system)

        stores = {machine: opened(machine, first) for machine in MACHINES}
        theft = partial(hide_packs, server, first) if lock else nothing
        work(r, stores, opened("host", second), lock, timedelta(seconds=1), theft)
    return {m: _asked(proxies[m].requests, documents[m]) for m in MACHINES}


def _asked(requests: list[Seen], documents: iam.Documents) -> Use:
    use = Use(granted=iam.used(requests))
    for seen in requests:
        use.denied |= {(action, seen.name) for action in documents.refused(seen)}
        if seen.verb == "put" and seen.status == 200:
            use.created.add(seen.name)
    return use


# Both ways.


@cache
def life(cloud: str, lock: LockMode | None) -> Used:
    """Lived once for all tests that look at it."""
    lived = {"gcs": gcs_used, "s3": s3_used}[cloud]
    with tempfile.TemporaryDirectory() as root:
        return lived(Path(root), lock)


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("machine", ["host", "keeper"])
def test_on_google_each_right_is_used_and_none_is_missing(
    machine: str, lock: LockMode | None
) -> None:
    assert life("gcs", lock)[machine].granted == gcs_rights(machine, lock)


@pytest.mark.parametrize("lock", LOCKS)
def test_on_google_a_drill_machine_reads_and_testifies(lock: LockMode | None) -> None:
    used = life("gcs", lock)
    assert used["drill"].granted == gcs_role("drill")
    assert used["drill"].granted | used["witness"].granted == gcs_rights("witness", lock)


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("machine", MACHINES)
def test_on_s3_nothing_else_is_asked_for(machine: str, lock: LockMode | None) -> None:
    assert life("s3", lock)[machine].granted <= s3_documents(machine, lock).granted()


@pytest.mark.parametrize(
    ("role", "machines"),
    [("host", ("host",)), ("drill", ("drill", "witness")), ("keeper", ("keeper",))],
)
def test_on_s3_no_action_is_granted_for_nothing(role: str, machines: tuple[str, ...]) -> None:
    """With lock and without: only where versions are kept are they read."""
    used = set().union(*(life("s3", lock)[m].granted for m in machines for lock in LOCKS))
    documents = iam.Documents(role=role, own=s3_document(role) + s3_document("lock"))
    assert used == documents.granted()


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("cloud", CLOUDS)
def test_only_the_keeper_deletes(cloud: str, lock: LockMode | None) -> None:
    """A host tries: its probe does, to say whether it may."""
    deletes = {"storage.objects.delete", "s3:DeleteObjectVersion"}
    for machine, use in life(cloud, lock).items():
        assert bool(use.granted & deletes) == (machine == "keeper")
        assert bool(use.denied) == (machine == "host")
        assert {right for right, _ in use.denied} <= deletes
        assert all(name.startswith(f"{PREFIX}/probe/") for _, name in use.denied)


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_drill_machine_puts_nothing_but_evidence(cloud: str, lock: LockMode | None) -> None:
    used = life(cloud, lock)
    assert used["drill"].created == set()
    assert used["witness"].created
    assert all(name.startswith(f"{PREFIX}/evidence/") for name in used["witness"].created)


def test_the_policy_of_an_s3_bucket_holds_for_everybody() -> None:
    server = ministack()
    bucket = server.bucket(lock=True)
    said = s3_documents("keeper", "compliance")
    with Proxy(server.endpoint, iam.enforced(said)) as proxy:
        store = open_store(Server(endpoint=proxy.url).url(bucket, PREFIX))
        store.put("a", body(b"a"))
        client = Server(endpoint=proxy.url).client()
        put = partial(client.put_object, Bucket=bucket, Key=f"{PREFIX}/a", Body=b"instead")
        with pytest.raises(ClientError, match="AccessDenied"):
            put()
        with pytest.raises(ClientError, match="PreconditionFailed"):
            put(IfNoneMatch="*")
        for days, fine in ((59, True), (70, False)):
            until = datetime.now(UTC) + timedelta(days=days)
            locked = replace(body(b"b"), lock=Lock(mode="compliance", until=until))
            with nullcontext() if fine else pytest.raises(StoreError, match="AccessDenied"):
                store.put(f"b-{days}", locked)
            store.put(f"evidence/b-{days}", locked)


def test_every_document_is_explained_and_tried() -> None:
    told = (DOCUMENTS.parent / "permissions.md").read_text()
    for path in DOCUMENTS.iterdir():
        kind, _, role = path.stem.partition("-")
        assert path.name in told or (kind == "gcs" and f" {role} " in told.replace(";", " ")), path
    tried = {"host", "drill", "keeper", "lock", "bucket", "evidence"}
    assert {path.stem.partition("-")[2] for path in DOCUMENTS.iterdir()} == tried
    assert set(VALUES) <= set(re.findall(r"`([A-Z_]+)`", told))
