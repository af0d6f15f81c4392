"""Position of a scan."""

from __future__ import annotations

import pytest

from coord.client.pages import Pages
from coord.errors import UsageError
from coord.keys import EVERYTHING
from coord.model import Header, KeyValue, RangeResult
from coord.ops import Get


def made(*, prefix: str = "p/", page: int = 2, revision: int = 0) -> Pages:
    return Pages(prefix, page=page, revision=revision, serializable=False, keys_only=True)


def result(*keys: bytes, more: bool, revision: int = 9) -> RangeResult:
    return RangeResult(Header(revision=revision), tuple(KeyValue(key) for key in keys), more, 10)


def test_pages_follow_each_other_at_the_first_ones_revision() -> None:
    pages = made()
    assert pages.request() == Get(b"p/", b"p0", limit=2, keys_only=True)
    assert [item.key for item in pages.page(result(b"p/a", b"p/b", more=True))] == [b"p/a", b"p/b"]
    assert pages.revision == 9
    assert pages.request() == Get(b"p/b\x00", b"p0", limit=2, revision=9, keys_only=True)
    pages.page(result(b"p/c", more=False, revision=12))
    assert pages.revision == 9
    assert pages.request() is None


def test_a_revision_asked_for() -> None:
    pages = made(revision=5)
    first = pages.request()
    assert first is not None
    assert first.revision == 5
    pages.page(result(b"p/a", more=True))
    assert pages.revision == 5


def test_everything() -> None:
    first = made(prefix="").request()
    assert first is not None
    assert (first.key, first.range_end) == (EVERYTHING, EVERYTHING)


def test_nothing_there() -> None:
    pages = made()
    assert pages.page(result(more=False)) == ()
    assert pages.request() is None


@pytest.mark.parametrize(("page", "revision"), [(0, 0), (-1, 0), (1, -1)])
def test_wrong_arguments(page: int, revision: int) -> None:
    with pytest.raises(UsageError):
        made(page=page, revision=revision)
