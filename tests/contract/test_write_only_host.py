"""A thief with the whole disk of a backup host and a copy of the store: what it can't do."""

import base64
import hashlib
import itertools
import os
import re
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand as _Expand

from drkit.crypto.recipients import Identity, Recipient, new_identity, open_envelope
from drkit.crypto.seal import CONTENTS, Opener
from drkit.crypto.sign import new_signer, signer_to_text
from drkit.errors import AlreadyExists, Damaged, KeyMissing, StoreError
from drkit.files import FilesPlan, FilesSource
from drkit.model.pins import Pins
from drkit.model.snapshot import Snapshot
from drkit.repository import names
from drkit.repository.format import HEAD, TAIL, contents_id
from drkit.repository.reader import SnapshotReader
from drkit.repository.repository import open_repository
from drkit.repository.signed import Closed, Expired, Where, encode
from drkit.source import Target
from drkit.stores.base import Store
from drkit.stores.local import LocalStore
from drkit.system import System
from tests.fixtures import trees
from tests.fixtures.append_server import append_server
from tests.fixtures.host import Host, new_host
from tests.fixtures.kinds import body

HOST_USER = 61_234  # nobody's number
CANARY = "a-name-nobody-may-read"
WORDS = b"what nobody may read "
