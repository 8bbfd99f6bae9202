"""What every test shares: a Hypothesis profile under which a red test is red again."""

from hypothesis import settings

settings.register_profile("house", derandomize=True, max_examples=100, deadline=None)
settings.load_profile("house")
