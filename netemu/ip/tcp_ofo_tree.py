"""The tree that holds early segments: its shape decides what a new one meets first.

Kernel: lib/rbtree.c. A red-black tree after Cormen et al., Introduction to Algorithms.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.ip.tcp_window import Buffer


class Held:
    """An early segment in the tree, and the buffer that it came in."""

    __slots__ = ("buffer", "end", "fin", "left", "parent", "red", "right", "start")

    left: Held
    right: Held
    parent: Held

    def __init__(self, start: int, end: int, buffer: Buffer, *, fin: bool = False) -> None:
        """Made outside of any tree."""
        self.buffer = buffer
        self.start = start
        self.end = end
        self.fin = fin
        """A FIN ends it."""
        self.red = True


class HeldTree:
    """Early segments by their start; the caller finds the places."""

    __slots__ = ("nil", "root")

    def __init__(self) -> None:
        """Start empty."""
        self.nil = Held(0, 0, Buffer(0, 0))
        self.nil.left = self.nil.right = self.nil.parent = self.nil
        self.nil.red = False
        self.root = self.nil

    def __bool__(self) -> bool:
        """Whether anything is held."""
        return self.root is not self.nil

    def __iter__(self) -> Iterator[Held]:
        """Yield what is held, in order."""
        node = self.first()
        while node is not self.nil:
            yield node
            node = self.after(node)

    def clear(self) -> None:
        """Forget all."""
        self.root = self.nil

    def first(self) -> Held:
        """Return the first segment, or nil."""
        return self._leftmost(self.root)

    def after(self, node: Held) -> Held:
        """Return the next segment, or nil."""
        if node.right is not self.nil:
            return self._leftmost(node.right)
        while node is node.parent.right and node is not self.nil:
            node = node.parent
        return node.parent

    def _leftmost(self, node: Held) -> Held:
        while node.left is not self.nil:
            node = node.left
        return node

    def insert(self, node: Held, parent: Held, *, left: bool) -> None:
        """Hang a segment below `parent` (nil: it is the first)."""
        node.left = node.right = self.nil
        node.parent = parent
        node.red = True
        if parent is self.nil:
            self.root = node
        elif left:
            parent.left = node
        else:
            parent.right = node
        while node.parent.red:
            node = self._repair_inserted(node)
        self.root.red = False

    def _repair_inserted(self, node: Held) -> Held:
        parent, grand = node.parent, node.parent.parent
        on_left = parent is grand.left
        uncle = grand.right if on_left else grand.left
        if uncle.red:
            parent.red = uncle.red = False
            grand.red = True
            return grand
        if node is (parent.right if on_left else parent.left):
            node = parent
            self._rotate(node, left=on_left)
        node.parent.red = False
        grand.red = True
        self._rotate(grand, left=not on_left)
        return node

    def erase(self, node: Held) -> None:
        """Take a segment out."""
        nil = self.nil
        gone_red = node.red
        if nil in (node.left, node.right):
            hole = node.right if node.left is nil else node.left
            self._transplant(node, hole)
        else:
            heir = self._leftmost(node.right)
            gone_red = heir.red
            hole = heir.right
            if heir.parent is node:
                hole.parent = heir
            else:
                self._transplant(heir, hole)
                heir.right = node.right
                heir.right.parent = heir
            self._transplant(node, heir)
            heir.left = node.left
            heir.left.parent = heir
            heir.red = node.red
        if not gone_red:
            while hole is not self.root and not hole.red:
                hole = self._repair_erased(hole)
            hole.red = False
        nil.parent = nil

    def _repair_erased(self, node: Held) -> Held:
        parent = node.parent
        on_left = node is parent.left

        def near(of: Held) -> Held:
            return of.left if on_left else of.right

        def far(of: Held) -> Held:
            return of.right if on_left else of.left

        sibling = far(parent)
        if sibling.red:
            sibling.red = False
            parent.red = True
            self._rotate(parent, left=on_left)
            sibling = far(parent)
        if not sibling.left.red and not sibling.right.red:
            sibling.red = True
            return parent
        if not far(sibling).red:
            near(sibling).red = False
            sibling.red = True
            self._rotate(sibling, left=not on_left)
            sibling = far(parent)
        sibling.red = parent.red
        parent.red = False
        far(sibling).red = False
        self._rotate(parent, left=on_left)
        return self.root

    def replace(self, old: Held, new: Held) -> None:
        """Put a segment in another one's place (rb_replace_node)."""
        new.left, new.right, new.red = old.left, old.right, old.red
        for child in (new.left, new.right):
            if child is not self.nil:
                child.parent = new
        self._transplant(old, new)

    def _transplant(self, old: Held, new: Held) -> None:
        if old.parent is self.nil:
            self.root = new
        elif old is old.parent.left:
            old.parent.left = new
        else:
            old.parent.right = new
        new.parent = old.parent

    def _rotate(self, node: Held, *, left: bool) -> None:
        child = node.right if left else node.left
        inner = child.left if left else child.right
        if left:
            node.right, child.left = inner, node
        else:
            node.left, child.right = inner, node
        if inner is not self.nil:
            inner.parent = node
        child.parent = node.parent
        if node.parent is self.nil:
            self.root = child
        elif node is node.parent.left:
            node.parent.left = child
        else:
            node.parent.right = child
        node.parent = child
