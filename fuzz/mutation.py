"""Mutations that keep a value's form: MessagePack or JSON is read, changed in one place, written.

Bytes changed blindly seldom get past a decoder; a tree whose one leaf is another, whose branch
stands twice, or whose integer is written in a longer form gets where the rules are.
"""

import json
import random
from collections.abc import Callable
from typing import Any, Final

import msgpack

Tree = Any

DEPTH_MAX: Final = 24
"""No tree is changed below this; deeper ones are changed blindly."""
NUMBERS: Final = (
    *(0, 1, 2, 63, 64, 127, 128, 255, 256, 1_023, 1_024, 65_535, 65_536, -1, -32, -33, -128, -129),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)),
)
TEXTS: Final = ("", "0", "-0", "\x00", "\u2028", "\U0001f600", "rpc.discover", "2.0", "sah1")


def mutated(data: bytes, size_max: int, chance: random.Random) -> bytes:
    """Return `data` changed in one to three places, at most `size_max` bytes of it."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        # cut each time: a list that is made seventy times as long twice takes gigabytes
        data = chance.choice(_KINDS)(data, chance)[:size_max]
    return data


def _blind(data: bytes, chance: random.Random) -> bytes:
    """Change bytes without looking at what they mean."""
    if not data:
        return chance.randbytes(4)
    at = chance.randrange(len(data))
    match chance.randrange(5):
        case 0:
            return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
        case 1:
            return data[:at] + chance.randbytes(chance.choice((1, 2, 8))) + data[at:]
        case 2:
            return data[:at]
        case 3:
            return data[:at] + data[at + chance.choice((1, 4, 32)) :]
        case _:
            return data + data[at:]


def _packed(data: bytes, chance: random.Random) -> bytes:
    """Change a MessagePack tree."""
    try:
        tree = msgpack.unpackb(data, strict_map_key=False)
        found = msgpack.packb(_changed(tree, chance, _packed_leaf))
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException):
        return _blind(data, chance)
    return bytes(found)


def _written(data: bytes, chance: random.Random) -> bytes:
    """Change a JSON tree."""
    try:
        return json.dumps(_changed(json.loads(data), chance, _json_leaf)).encode()
    except (ValueError, TypeError, RecursionError):
        return _blind(data, chance)


def _lengthened(data: bytes, chance: random.Random) -> bytes:
    """Write a small integer, or the head of bytes, in a longer form than need be."""
    at = chance.randrange(len(data) + 1)
    if at < len(data) and data[at] < 0x80:
        return data[:at] + chance.choice((b"\xcc", b"\xcd\x00", b"\xd0")) + data[at:]
    if at < len(data) - 1 and data[at] == 0xC4:
        return data[:at] + b"\xc5\x00" + data[at + 1 :]
    return _blind(data, chance)


_KINDS: Final[tuple[Callable[[bytes, random.Random], bytes], ...]] = (
    *(_blind, _packed, _packed, _packed, _written, _written, _lengthened),
)

Leaf = Callable[[Tree, random.Random], Tree]


def _changed(tree: Tree, chance: random.Random, leaf: Leaf, depth: int = 0) -> Tree:
    """Return the tree with one place changed."""
    branches = tree if isinstance(tree, list) else list(tree) if isinstance(tree, dict) else []
    if not branches or depth == DEPTH_MAX or chance.randrange(8) == 0:
        return _rebuilt(tree, chance, leaf)
    at = chance.randrange(len(branches))
    if isinstance(tree, dict):
        return {**tree, branches[at]: _changed(tree[branches[at]], chance, leaf, depth + 1)}
    return [*tree[:at], _changed(tree[at], chance, leaf, depth + 1), *tree[at + 1 :]]


def _rebuilt(tree: Tree, chance: random.Random, leaf: Leaf) -> Tree:
    """Return what stands in a place instead of a leaf or a branch."""
    if isinstance(tree, list) and tree:
        at = chance.randrange(len(tree))
        match chance.randrange(5):
            case 0:
                return [*tree[:at], *tree[at + 1 :]]
            case 1:
                return [*tree[: at + 1], *tree[at:]]
            case 2:
                return tree[::-1]
            case 3:
                return tree * chance.choice((2, 20, 70))
    if isinstance(tree, dict) and tree:
        gone = chance.choice(list(tree))
        return {key: value for key, value in tree.items() if key != gone}
    return leaf(tree, chance)


def _packed_leaf(tree: Tree, chance: random.Random) -> Tree:
    match tree:
        case bytes() if tree and chance.randrange(2):
            return _blind(tree, chance)
        case int() if chance.randrange(2):
            return tree + chance.choice((-1, 1))
    return _any_leaf(chance, chance.randbytes(chance.choice((0, 20, 32, 64))))


def _json_leaf(tree: Tree, chance: random.Random) -> Tree:
    match tree:
        case str() if tree and chance.randrange(2):
            return chance.choice((tree[:-1], tree * 2, tree.upper(), tree[::-1]))
    return _any_leaf(chance, chance.choice((0.5, -0.0, 1e300, 10**30, {}, {"": []})))


def _any_leaf(chance: random.Random, other: Tree) -> Tree:
    kinds: tuple[Tree, ...] = (
        *(chance.choice(NUMBERS), chance.choice(NUMBERS), chance.choice(TEXTS)),
        *(None, True, [], other),
    )
    return chance.choice(kinds)
