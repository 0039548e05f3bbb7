"""Tests of the parts, without sleeping and without the network."""

from hypothesis import HealthCheck, settings

# Time is no part of a test: a busy machine must not make one fail.
settings.register_profile("relay", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("relay")
