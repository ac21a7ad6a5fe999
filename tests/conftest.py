"""Settings for all tests."""

from hypothesis import settings

# The machine is shared with Ray: how long an example takes says nothing. The same examples every
# time: a test that fails at random teaches people to run it again.
settings.register_profile("strsweep", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("strsweep")
