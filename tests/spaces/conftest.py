"""What tests of spaces share."""

import pytest
from transformer_spaces import SPACES


@pytest.fixture(params=SPACES.values(), ids=SPACES.keys())
def space(request):
    """Small transformers of every kind."""
    return request.param
