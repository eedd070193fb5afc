"""The endpoint= of a store's address: a server's address, and nothing else in it."""

from urllib.parse import SplitResult, urlsplit

from drkit.errors import ConfigError

_FORM = "write it like endpoint=https://s3.example.org or endpoint=http://127.0.0.1:9000"
_VENDORS = (
    ".amazonaws.com",
    ".digitaloceanspaces.com",
    ".linodeobjects.com",
    ".cloudflarestorage.com",
)


def check_endpoint(endpoint: str | None, bucket: str = "", *, path: bool = False) -> None:
    """`path`: some vendors of S3 have one behind their server.

    Never shown as it is: somebody may have put a password there.
    """
    if endpoint is None:
        return
    parts = split(endpoint)
    if parts is None:
        raise ConfigError("the endpoint is no address of a server", hint=_FORM)
    if "@" in parts.netloc:
        raise ConfigError("a password stands in the endpoint: take it out", hint=_FORM)
    if parts.scheme not in {"http", "https"}:
        raise ConfigError("the endpoint has no scheme: http or https", hint=_FORM)
    if parts.query or parts.fragment:
        raise ConfigError("the endpoint has more behind its address than a server", hint=_FORM)
    if bucket and _names_bucket(parts, bucket):
        raise ConfigError(
            f"the endpoint has the bucket's name in it: {bucket}",
            hint=f"the server alone belongs there, {bucket} stands in the store's address already",
        )
    if parts.path.strip("/") and not path:
        raise ConfigError("the endpoint has a path behind its server", hint=_FORM)


def split(url: str) -> SplitResult | None:
    """None where it names no server; one without a scheme names one all the same."""
    bare = not url.lower().startswith(("http://", "https://"))
    if not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url if not bare or "://" in url else f"//{url}")
        _ = parts.port  # raises where it is none
    except ValueError:
        return None
    return parts if parts.hostname else None


def _names_bucket(parts: SplitResult, bucket: str) -> bool:
    """As the last part of a path, or before a server that is known to take buckets there."""
    if parts.path.strip("/").split("/")[-1] == bucket:
        return True
    host = parts.hostname or ""
    rest = host.removeprefix(f"{bucket}.")
    return rest != host and (rest.startswith(("s3.", "s3-")) or f".{rest}".endswith(_VENDORS))


def is_amazons(endpoint: str | None) -> bool:
    """None is Amazon itself."""
    if endpoint is None:
        return True
    parts = split(endpoint)
    host = "" if parts is None else parts.hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))
