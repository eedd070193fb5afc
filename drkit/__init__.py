"""drkit: backups that are proven, measured and signed."""

__version__ = "0.1.0"
