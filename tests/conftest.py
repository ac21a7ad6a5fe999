"""Settings for all tests."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.append(str(Path(__file__).parent))  # tests of several folders share these files

# The machine is shared with Ray: how long an example takes says nothing. The same examples every
# time: a test that fails at random teaches people to run it again.
settings.register_profile("strsweep", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("strsweep")

os.environ.pop("RAY_ADDRESS", None)  # a Ray that the shell knows is not for tests


def _restored() -> Iterator[None]:
    """Undo what was left in the environment: MLflow keeps its servers there, for all others."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


restored_after_a_test = pytest.fixture(autouse=True)(_restored)
restored_after_a_module = pytest.fixture(autouse=True, scope="module")(_restored)
"""A fixture of a module, such as a published model, leaves its traces before the first test."""
