"""Use cases: one file each, a function with its plan as one dataclass."""
