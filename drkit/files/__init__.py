"""File trees as a source."""

from drkit.files.tree import FilesPlan, FilesSource

__all__ = ["FilesPlan", "FilesSource"]
