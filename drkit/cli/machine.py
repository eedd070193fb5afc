"""What the machine refused where no part of drkit expected it: a person's to mend, and no bug."""

import errno

from drkit.errors import DiskError

_FULL = "see that the disk is there, writable and not full"
_MORE = "give it more, or stop something else"


def refused(error: BaseException) -> DiskError | None:
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return DiskError("not enough memory", hint=_MORE)
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
        return DiskError("no thread could be started: memory or processes ran out", hint=_MORE)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename is not None else ""
        return DiskError(f"{where}{(error.strerror or str(error)).lower()}", hint=_FULL)
    if type(error).__module__ == "sqlite3":  # not imported for this: it may not be in use
        return DiskError(f"drkit's memory in the state folder: {error}", hint=_FULL)
    return None
