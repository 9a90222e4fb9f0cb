"""The tree of early segments stays a red-black tree, whatever is put in and taken out."""

from __future__ import annotations

import random

from netemu.ip.tcp_ofo_tree import Held, HeldTree
from netemu.ip.tcp_window import Buffer


def blacks(tree: HeldTree, node: Held) -> int:
    """Return how many black nodes lie on every way down; no red one has a red child."""
    if node is tree.nil:
        return 0
    for child in (node.left, node.right):
        assert child is tree.nil or child.parent is node
        assert not (node.red and child.red)
    left, right = blacks(tree, node.left), blacks(tree, node.right)
    assert left == right
    return left + (not node.red)


def test_it_stays_ordered_and_balanced() -> None:
    rng = random.Random(1)
    tree = HeldTree()
    held: dict[int, Held] = {}
    for _ in range(2000):
        start = rng.randrange(200)
        if start in held and rng.random() < 0.7:
            tree.erase(held.pop(start))
        elif start in held:
            new = Held(start, start + 2, Buffer(832, 0))
            tree.replace(held[start], new)
            held[start] = new
        else:
            held[start] = Held(start, start + 1, Buffer(832, 0))
            parent, node = tree.nil, tree.root
            while node is not tree.nil:
                parent, node = node, node.left if start < node.start else node.right
            tree.insert(held[start], parent, left=start < parent.start)
        assert [node.start for node in tree] == sorted(held)
        blacks(tree, tree.root)
        assert not tree.root.red


def test_a_black_root_after_three_in_a_row() -> None:
    """Cormen et al.: the middle one becomes the root by a rotation."""
    tree = HeldTree()
    parent = tree.nil
    for start in (1, 2, 3):
        node = Held(start, start + 1, Buffer(832, 0))
        tree.insert(node, parent, left=False)
        parent = node
    assert (tree.root.start, tree.root.left.start, tree.root.right.start) == (2, 1, 3)
