"""Which watchers want a key: a table for single keys, an interval tree for ranges. Knows nothing of what a watcher is.

Finding them costs what matches, not what exists: ten thousand watchers of other keys are one dictionary miss and one
walk of logarithmic depth.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar
from zlib import crc32

from coord.server.invariant import invariant

W = TypeVar("W")

_NO_WATCHERS: Final = ()


class _Node(Generic[W]):
    """One distinct range; ordered by (start, end), heap-ordered by `rank`."""

    __slots__ = ("end", "left", "rank", "reach", "right", "start", "watchers")

    def __init__(self, start: bytes, end: bytes | None) -> None:
        self.start = start
        self.end = end  # None is no upper bound
        self.reach = end  # the largest end of this subtree
        # A treap wants ranks that do not follow the order; a checksum is as good as chance and the same every time.
        self.rank = crc32(start + b"\0" + (end or b"\xff"))
        self.left: _Node[W] | None = None
        self.right: _Node[W] | None = None
        self.watchers: dict[W, None] = {}

    def order(self) -> tuple[bytes, bool, bytes]:
        return self.start, self.end is None, self.end or b""


class WatcherIndex(Generic[W]):
    """Watchers by what they watch: a single key (end b""), a range, or everything from a key on (end None)."""

    def __init__(self) -> None:
        self._singles: dict[bytes, dict[W, None]] = {}
        self._root: _Node[W] | None = None
        self._nodes: dict[tuple[bytes, bytes | None], _Node[W]] = {}
        self.count = 0  # watchers, the same range several times included

    def add(self, watcher: W, start: bytes, end: bytes | None) -> None:
        """From now on `matching` finds it."""
        if end == b"":
            watchers = self._singles.setdefault(start, {})
        else:
            node = self._nodes.get((start, end))
            if node is None:
                node = self._nodes[start, end] = _Node(start, end)
                self._root = _insert(self._root, node)
            watchers = node.watchers
        invariant(watcher not in watchers, "a watcher was added twice")
        watchers[watcher] = None
        self.count += 1

    def remove(self, watcher: W, start: bytes, end: bytes | None) -> None:
        """The opposite of `add` with the same range."""
        if end == b"":
            watchers = self._singles[start]
            del watchers[watcher]
            if not watchers:
                del self._singles[start]
        else:
            node = self._nodes[start, end]
            del node.watchers[watcher]
            if not node.watchers:
                del self._nodes[start, end]
                self._root = _remove(self._root, node)
        self.count -= 1

    def matching(self, key: bytes) -> list[W]:
        """Watchers that want `key`."""
        found = list(self._singles.get(key, _NO_WATCHERS))
        if self._root is None:
            return found
        pending: list[_Node[W]] = [self._root]
        while pending:
            node = pending.pop()
            reach, end = node.reach, node.end
            if reach is not None and reach <= key:
                continue
            if node.left is not None:
                pending.append(node.left)
            if node.start <= key:
                if end is None or key < end:
                    found.extend(node.watchers)
                if node.right is not None:
                    pending.append(node.right)
        return found

    def check(self) -> None:
        """Order, heap order and reach of the tree, and the count.

        Raises:
            InvariantBroken: one is wrong.
        """
        nodes = _check(self._root)
        invariant(set(map(id, nodes)) == set(map(id, self._nodes.values())), "tree and table of ranges differ")
        count = sum(map(len, self._singles.values())) + sum(len(node.watchers) for node in nodes)
        invariant(count == self.count, "watchers miscounted", counted=count, kept=self.count)


def _update(node: _Node[W]) -> _Node[W]:
    reach = node.end
    for child in (node.left, node.right):
        if child is None or reach is None:
            continue
        reach = None if child.reach is None else max(reach, child.reach)
    node.reach = reach
    return node


def _split(tree: _Node[W] | None, at: tuple[bytes, bool, bytes]) -> tuple[_Node[W] | None, _Node[W] | None]:
    """Parts below and above `at`, which is not in the tree."""
    if tree is None:
        return None, None
    if tree.order() < at:
        tree.right, above = _split(tree.right, at)
        return _update(tree), above
    below, tree.left = _split(tree.left, at)
    return below, _update(tree)


def _insert(tree: _Node[W] | None, node: _Node[W]) -> _Node[W]:
    if tree is None:
        return node
    if node.rank > tree.rank:
        node.left, node.right = _split(tree, node.order())
        return _update(node)
    if node.order() < tree.order():
        tree.left = _insert(tree.left, node)
    else:
        tree.right = _insert(tree.right, node)
    return _update(tree)


def _merge(below: _Node[W] | None, above: _Node[W] | None) -> _Node[W] | None:
    if below is None or above is None:
        return below or above
    if below.rank > above.rank:
        below.right = _merge(below.right, above)
        return _update(below)
    above.left = _merge(below, above.left)
    return _update(above)


def _remove(tree: _Node[W] | None, node: _Node[W]) -> _Node[W] | None:
    invariant(tree is not None, "removed a range that is not in the tree", start=node.start)
    assert tree is not None
    if tree is node:
        return _merge(node.left, node.right)
    if node.order() < tree.order():
        tree.left = _remove(tree.left, node)
    else:
        tree.right = _remove(tree.right, node)
    return _update(tree)


def _check(tree: _Node[W] | None) -> list[_Node[W]]:
    """The nodes in order, after checking them."""
    if tree is None:
        return []
    left, right = _check(tree.left), _check(tree.right)
    for child in (tree.left, tree.right):
        invariant(child is None or child.rank <= tree.rank, "a treap out of heap order")
    nodes = [*left, tree, *right]
    orders = [node.order() for node in nodes]
    invariant(orders == sorted(orders), "a treap out of key order")
    ends = [node.end for node in nodes]
    reach = None if None in ends else max(end for end in ends if end is not None)
    invariant(tree.reach == reach, "a subtree's reach is wrong", start=tree.start)
    invariant(tree.watchers, "a range without watchers was kept", start=tree.start)
    return nodes
