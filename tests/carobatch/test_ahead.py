"""The next value is made while the present one is in use: one in advance, in order, errors where they belong."""

import contextlib
import threading

import pytest

from carobatch.ahead import ahead


def test_one_is_made_in_advance_in_another_thread():
    made, threads = [], set()

    def values():
        for number in range(5):
            threads.add(threading.get_ident())
            made.append(number)
            yield number

    with contextlib.closing(ahead(values())) as found:
        assert next(found) == 0
    assert made in ([0], [0, 1])  # Never two.
    assert threads.isdisjoint({threading.get_ident()})


def test_all_come_and_in_order():
    assert list(ahead(iter(range(100)))) == list(range(100))
    assert list(ahead(iter(()))) == []


def test_what_is_raised_is_raised_where_it_would_be_without():
    def values():
        yield 1
        raise OSError(5, "no")

    found = ahead(values())
    assert next(found) == 1
    with pytest.raises(OSError, match="no"):
        next(found)
