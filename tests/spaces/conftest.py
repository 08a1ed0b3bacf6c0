"""What tests of spaces share."""

import pytest
from small_transformers import SPACES


@pytest.fixture(params=SPACES.values(), ids=SPACES.keys())
def space(request):
    """Small transformers of every kind."""
    return request.param
