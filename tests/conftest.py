"""For all tests: one seed for hypothesis, printed, and settings that hold on a busy machine."""

import os
import random

import pytest
from hypothesis import settings

from tests.fixtures.aws_environment import AWS_ENVIRONMENT

settings.register_profile("drkit", deadline=None, print_blob=True)
settings.load_profile("drkit")
os.environ.update(AWS_ENVIRONMENT)

SEED_OPTION = "hypothesis_seed"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Before hypothesis reads its options; DRKIT_SEED comes from scripts/soak."""
    if getattr(config.option, SEED_OPTION, None) is None:
        seed = os.environ.get("DRKIT_SEED") or str(random.SystemRandom().randrange(1 << 32))
        setattr(config.option, SEED_OPTION, seed)


def pytest_report_header(config: pytest.Config) -> str:
    seed = config.getoption(SEED_OPTION)
    return f"hypothesis seed: {seed} (again: --hypothesis-seed={seed})"
