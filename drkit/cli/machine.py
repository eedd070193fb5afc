"""What the machine refused where no part of drkit expected it: a person's to mend, and no bug."""

from drkit.errors import DiskError

_FULL = "see that the disk is there, writable and not full"


def refused(error: BaseException) -> DiskError | None:
    if isinstance(error, MemoryError):
        return DiskError("not enough memory", hint="give it more, or stop something else")
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename is not None else ""
        return DiskError(f"{where}{(error.strerror or str(error)).lower()}", hint=_FULL)
    if type(error).__module__ == "sqlite3":  # not imported for this: it may not be in use
        return DiskError(f"drkit's memory in the state folder: {error}", hint=_FULL)
    return None
