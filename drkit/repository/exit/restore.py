# fmt: off
# ruff: noqa: E401, E701, E702, I001, B007, B905, BLE001, C414, RET503 - a person can read 200 lines
"""Restores a drkit repository (format 1) without drkit: see FORMAT.md, which lies beside this."""
import argparse, base64, contextlib, functools, glob, hashlib, hmac, json, os, re, struct, sys
from typing import Any
import zstandard
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("store", help="a folder: a plain copy of the bucket, best read-only")
parser.add_argument("--signer", action="append", default=[], help="ed25519:… that is believed")
for key in "identity domain snapshot into wal".split(): parser.add_argument(f"--{key}", default="")
for key in ("list", "as-root"): parser.add_argument(f"--{key}", action="store_true")
args = parser.parse_args()
STORE, PINS = os.path.abspath(args.store), [pin.lower()[8:] for pin in args.signer]
MIB, ID, WAL = 1 << 20, "[0-9a-f]" * 32, struct.Struct("<72x32sIIII16s48s64sI")
FOLDER, NEW = os.O_DIRECTORY | os.O_NOFOLLOW, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
ORDER = ("file", "hardlink", "fifo", "link", "dir")  # in which a tree is completed: links late
troubles: list[str] = []

def need(true: object, why: str) -> None:
    if not true: raise ValueError(why)
def attempt(what: str, action: Any, *given: object) -> Any:  # noqa: ANN401
    try: return action(*given)
    except Exception as error: troubles.append(f"{what}: {error!r}")
    return print("TROUBLE:", troubles[-1], file=sys.stderr)
def sha256(data: bytes) -> bytes: return hashlib.sha256(data).digest()
def mac(key: bytes, data: bytes) -> bytes: return hmac.new(key, data, "sha256").digest()
def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes: return mac(mac(salt, key), info + b"\1")
def read(path: str, most: int) -> bytes:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        need(os.fstat(file.fileno()).st_size <= most, "it is larger than it may be")
        return file.read()
def identities() -> list[x25519.X25519PrivateKey]:  # Bech32: 52 letters of 5 bits hold a key
    text, letters = read(args.identity, MIB).decode().upper(), "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L"
    found = re.findall(r"^\s*AGE-SECRET-KEY-1(\w{58})\s*$", text, re.MULTILINE)
    bits = ["".join(f"{letters.index(c):05b}" for c in body)[:256] for body in found]
    return [x25519.X25519PrivateKey.from_private_bytes(int(b, 2).to_bytes(32, "big")) for b in bits]
def envelope(data: bytes) -> bytes:  # an age file of X25519 stanzas and one chunk: a session's key
    header, _, rest = data.partition(b"\n---")
    tag, _, body = rest.partition(b"\n")
    for pair in re.findall(rb"\n-> X25519 ([\w+/]{43})\n([\w+/]{43})(?=\n|\Z)", header)[:32]:
        share, wrapped = (base64.b64decode(word + b"=") for word in pair)
        for key in KEYS:
            with contextlib.suppress(Exception):  # this stanza is for another key
                salt = share + key.public_key().public_bytes_raw()
                secret = key.exchange(x25519.X25519PublicKey.from_public_bytes(share))
                secret = hkdf(secret, salt, b"age-encryption.org/v1/X25519")
                secret = ChaCha20Poly1305(secret).decrypt(bytes(12), wrapped, None)
                right = base64.b64encode(mac(hkdf(secret, b"", b"header"), header + b"\n---"))
                need(tag.strip() == right.rstrip(b"="), "the header is not what was sealed")
                stream = ChaCha20Poly1305(hkdf(secret, body[:16], b"payload"))
                return stream.decrypt(bytes(11) + b"\1", body[16:], None)[:32]
    raise ValueError("no identity given opens it, or its envelope is damaged")
def opened(session: bytes, kind: int, id: bytes, sealed: bytes, size: int) -> bytes:  # a record
    cipher, aad = AESGCM(mac(session, bytes([kind]) + id[:16])), BOUND + bytes([kind]) + id
    packed = cipher.decrypt(sealed[:12], sealed[12:], aad)
    unfolds = zstandard.frame_content_size(packed)  # known before it does
    need(unfolds == size if size else 0 < unfolds <= 64 * MIB, "a record has not its length")
    return zstandard.ZstdDecompressor().decompress(packed)

def verify(public: bytes, signature: bytes, words: bytes) -> None:
    ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, b"drkit1 " + words)
    need(not PINS or public.hex() in PINS, f"it is signed by ed25519:{public.hex()}, not pinned")
def signed(path: str) -> dict[str, Any]:  # believed when a pinned key says it of that very place
    data, names = read(path, 64 << 10), path[len(STORE) + 1:].split("/")
    said: dict[str, Any] = json.loads(data[96:])
    verify(data[64:96], data[:64], f"{said['type']}\0".encode() + data[96:])
    again = json.dumps(said, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    place = {"repository": REPO, **dict(zip(("domain", "generation", "session"), names[1::2]))}
    kinds = ("commit", "fence") if names[4] == "outcome" else ("expired",)
    need(again == data[96:] and place.items() <= said.items() and said["type"] in kinds, "swapped")
    return {**said, "signer": f"ed25519:{data[64:96].hex()}", "hash": sha256(data).hex()}
def commits() -> list[dict[str, Any]]:  # oldest first; those of expired generations left out
    every = f"{glob.escape(STORE)}/domains/{ID}/generations/{ID}/"
    paths = glob.glob(every + "expired") + glob.glob(every + f"outcome/{ID}")
    found = [said for path in paths if (said := attempt(f"{path} is not believed", signed, path))]
    expired = {said["generation"] for said in found if said["type"] == "expired"}
    found = sorted((c for c in found if c["type"] == "commit"), key=lambda c: str(c["ended"]))
    seen = {tuple(head) for commit in found for head in commit["heads"]}
    for head in seen - {(c["generation"], c["hash"]) for c in found}:
        attempt(f"a commit of generation {head[0]} is gone", need, 0, "another one has seen it")
    return [commit for commit in found if commit["generation"] not in expired]

def native(text: str) -> bytes:  # a backslash stands doubled, bytes that are no UTF-8 as \xNN
    odd = re.compile(rb"\\(\\|x[89a-f][0-9a-f])")
    return odd.sub(lambda m: bytes.fromhex(m[1][1:].decode()) or b"\\", text.encode())
def manifest(commit: dict[str, Any]) -> tuple[dict[int, Any], dict[int, Any], dict[bytes, Any]]:
    data = read(f"{BASE}/manifest/{commit['session']}", commit["manifest"][0])
    need([len(data), sha256(data).hex()] == commit["manifest"], "the manifest isn't the signed one")
    session = envelope(data[12:12 + int.from_bytes(data[8:12], "little")])
    table = data[-12 - int.from_bytes(data[-12:-8], "little"):-12]
    table = opened(session, 2, sha256(b"contents " + commit["session"].encode())[:16], table, 0)
    text = b"".join(opened(session, 3, id, data[at:at + stored], size)
                    for _, id, size, at, stored in struct.iter_unpack("<B16sIQI", table))
    head, *lines, last = [json.loads(line) for line in text.split(b"\n")[:-1]]
    packs, records = ({x[k][0]: x[k][1:] for x in lines if k in x} for k in ("pack", "record"))
    entries, tree = list[Any](), dict[bytes, Any]()
    for line in lines:
        if "path" in line: entries.append({"type": "file", "size": 0, "extents": [], **line})
        if "more" in line: entries[-1]["extents"] += line["more"]
    counts = {"packs": len(packs), "records": len(records), "lines": len(entries)}
    need(head["manifest"] == 1 and last.get("end") == counts, "the manifest was cut: no end line")
    for entry in entries:  # each path once, safe, in a folder; each extent in its record
        path, flat, kind = native(entry["path"]), entry["extents"], entry["type"]
        need(path not in tree and not {b"", b".", b".."} & {*path.split(b"/")} and b"\0" not in path
             and (b"/" not in path or tree.get(path.rpartition(b"/")[0], {}).get("type") == "dir")
             and kind in ORDER, f"unsafe path in the manifest: {path!r}")
        entry["extents"] = list(zip(flat[::3], flat[1::3], flat[2::3]))
        need(sum(flat[2::3]) == entry["size"] and all(
            length > 0 <= at and (not n or at + length <= records[n][1])
            for n, at, length in entry["extents"]), f"{path!r} has extents that can't be")
        need(kind != "hardlink" or tree[native(entry["target"])]["type"] == "file", "unsafe link")
        tree[path] = entry
    return packs, records, tree
@functools.cache
def session_of(place: str, size: int, digest: str) -> Any:  # noqa: ANN401  nothing if it's damaged
    data = attempt(place, read, place, 64 * MIB) or b""
    if [len(data), sha256(data).hex()] == [size, digest]:
        return attempt(place, envelope, data[12:12 + int.from_bytes(data[8:12], "little")])
@functools.lru_cache(maxsize=64)
def record(number: int) -> bytes:
    id, size, pack, at, stored = RECORDS[number]
    place = f"{BASE}/packs/{PACKS[pack][0]}-{PACKS[pack][1]:06d}"
    need(session := session_of(place, *PACKS[pack][2:]), f"{place} is missing, or not as signed")
    with open(place, "rb") as file:
        file.seek(at); return opened(session, 1, bytes.fromhex(id), file.read(stored), size)

def enter(path: bytes) -> bytes:  # the folder it is in, part by part and through no link
    os.fchdir(ROOT)
    for part in path.split(b"/")[:-1]:
        folder = os.open(part, FOLDER); os.fchdir(folder); os.close(folder)
    return path.split(b"/")[-1]
def put(path: bytes, entry: dict[str, Any]) -> None:
    kind, name, target = entry["type"], enter(path), native(entry.get("target", ""))
    if kind == "hardlink": os.link(target, name, src_dir_fd=ROOT, follow_symlinks=False)
    if kind == "fifo": os.mkfifo(name, 0o600)
    if kind == "link": os.symlink(target, name)
    if kind == "file":
        with open(os.open(name, NEW, 0o600), "wb") as file:
            try:
                for number, at, length in entry["extents"]:
                    file.write(record(number)[at:at + length]) if number else file.seek(length, 1)
                file.truncate(entry["size"]); os.fsync(file.fileno())
            except BaseException: os.unlink(name); raise
    if args.as_root: os.chown(name, entry.get("uid", 0), entry.get("gid", 0), follow_symlinks=False)
    if kind != "link": os.chmod(name, entry.get("mode", 0) & (0o7777 if args.as_root else 0o1777))
    os.utime(name, ns=(entry.get("mtime", 0),) * 2, follow_symlinks=False)

def wal_part(path: str) -> tuple[int, int, bytes]:
    data, name = read(path, 2048 * MIB), path[len(STORE) + 1:].encode()
    public, line, start, end, size, _, _, file, at = WAL.unpack_from(data)
    words = BOUND[6:] + struct.pack("<H", len(name)) + name + sha256(data[72:])
    verify(public, data[8:72], b"wal\0" + words)
    session, out, at = envelope(data[WAL.size:WAL.size + at]), b"", WAL.size + at
    for n, begin in enumerate(range(start, end, MIB)):
        id = struct.pack("<QB7xIII64s", n, begin + MIB >= end, line, start, end, file)
        stored = int.from_bytes(data[at:at + 4], "little")
        out += opened(session, 4, id, data[at + 4:at + 4 + stored], min(MIB, end - begin))
        at += 4 + stored
    need(at == len(data) and start < end <= size <= 1024 * MIB, "it has not its length")
    return start, size, out
def wal(file: str) -> None:  # the whole one if it is there, else pieces without a hole, and zeros
    every, out, size = f"{glob.escape(BASE)}/wal/{file[:8]}/{file}", bytearray(), 0
    paths = [*glob.glob(every), *glob.glob(f"{every}+*")] or glob.glob(f"{every}.d/*")
    for start, size, data in sorted(wal_part(path) for path in paths):
        if start <= len(out):
            need(data.startswith(out[start:start + len(data)]), "it is there with different bytes")
            out[start:start + len(data)] = data
    need(out, "its beginning is missing")
    with open(os.open(file, NEW, 0o600), "wb") as target: target.write(out.ljust(size, b"\0"))

sys.excepthook = lambda _, error, __: print(f"REFUSED: {error!r}", file=sys.stderr)
said = json.loads(read(f"{STORE}/repository.json", 64 << 10))
REPO, KEYS, BASE, work = said["id"], identities() if args.identity else [], "", list[Any]()
need(said["format"] == 1 and not said["features"]["required"], "it needs a newer restore.py")
if not PINS: print("UNPINNED: without --signer, anybody may have made these", file=sys.stderr)
found = [c for c in commits() if args.domain in c["domain"] and args.snapshot in c["session"]]
for c in found: print(c["ended"], c["session"], c["kind"], "of", c["domain"], c["signer"],
                      c["facts"]["files"], "files,", repr(c["facts"]["label"]))
if args.into or args.wal:
    need(len({c["domain"] for c in found}) == 1 and (not args.snapshot or len(found) == 1)
         and not (args.into and args.wal), "choose one with --domain, --snapshot; --into or --wal")
    need(args.snapshot or not troubles, "not all is believed: choose what to take with --snapshot")
    os.makedirs(args.into or args.wal, exist_ok=True)
    ROOT = os.open(args.into or args.wal, FOLDER); os.umask(0); os.fchdir(ROOT)
    need(not os.listdir(ROOT), "the folder to restore into is not empty")
    BOUND = b"DRKIT1" + bytes.fromhex(REPO + found[-1]["domain"])
    BASE = f"{STORE}/domains/{found[-1]['domain']}"
if args.wal:
    every = [top.split("/")[-1] for top in glob.glob(f"{glob.escape(BASE)}/wal/[0-9A-F]*/*")]
    work = [(file, wal, file) for file in sorted({re.split(r"\+|\.d$", top)[0] for top in every})]
elif args.into:
    BASE += f"/generations/{found[-1]['generation']}"
    PACKS, RECORDS, tree = manifest(found[-1])
    for path in [p for p, e in tree.items() if e["type"] == "dir"]: os.mkdir(enter(path), 0o700)
    tasks = sorted(reversed(tree.items()), key=lambda item: ORDER.index(item[1]["type"]))
    work = [(f"{path!r} is left out", put, path, entry) for path, entry in tasks]
for task in work: attempt(*task)
os.sync(); print(f"{len(work)} paths restored, {len(troubles)} troubles"); sys.exit(bool(troubles))
