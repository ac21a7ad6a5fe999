"""Settings for all tests."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# The machine is shared with Ray: how long an example takes says nothing. The same examples every
# time: a test that fails at random teaches people to run it again.
settings.register_profile("strsweep", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("strsweep")


@pytest.fixture(autouse=True)
def environment_restored() -> Iterator[None]:
    """Undo what a test leaves in the environment: MLflow keeps its server there, for all others."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)
