"""A small latency table for every test that asks for one."""

import pytest
from small_table import small_table


@pytest.fixture
def table():
    return small_table()
