"""The only reader of policy files and of the environment."""

from drkit.config.environment import Environment, environment, state_folder
from drkit.config.folder import (
    FOLDERS,
    Folder,
    find_policy,
    load_folder,
    load_policy,
    parse_policy,
    read_folder,
)
from drkit.config.reference import policy_markdown, policy_schema

__all__ = [
    "FOLDERS",
    "Environment",
    "Folder",
    "environment",
    "find_policy",
    "load_folder",
    "load_policy",
    "parse_policy",
    "policy_markdown",
    "policy_schema",
    "read_folder",
    "state_folder",
]
