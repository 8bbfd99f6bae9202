"""Tagged BLAKE2b-256 and Merkle trees of the RFC 6962 shape, hashed without the GIL."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from cython_ext._sodium cimport Tag, as_tag, hash_prefixed, hash_tagged

cdef enum:
    HASH_SIZE = 32
    LEAF = 0x00
    NODE = 0x01

# One item to hash: where it starts, how long it is, where its digest goes.
ctypedef struct Item:
    const uint8_t *data
    size_t size
    uint8_t *out


def tagged_hash(bytes tag not None, bytes data not None):
    """H(tag, data): 32 bytes of BLAKE2b under the tag as personalisation."""
    cdef Tag personal = as_tag(tag)
    cdef bytes digest = PyBytes_FromStringAndSize(NULL, HASH_SIZE)
    cdef uint8_t *out = <uint8_t *> PyBytes_AS_STRING(digest)
    cdef const uint8_t *start = <const uint8_t *> PyBytes_AS_STRING(data)
    cdef size_t size = PyBytes_GET_SIZE(data)
    if size < 2048:  # shorter than the time it takes to give the GIL away and get it back
        hash_tagged(out, &personal, start, size)
    else:
        with nogil:
            hash_tagged(out, &personal, start, size)
    return digest


def tagged_hash_many(bytes tag not None, items not None):
    """H(tag, item) of every item, in their order."""
    cdef Tag personal = as_tag(tag)
    cdef tuple held = tuple(items)  # holds the bytes while the GIL is away
    cdef Py_ssize_t count = len(held), at
    cdef list digests = []
    cdef bytes item, digest
    cdef Item *work = <Item *> malloc((count or 1) * sizeof(Item))
    if work is NULL:
        raise MemoryError()
    try:
        for at in range(count):
            item = _bytes(held[at])
            digest = PyBytes_FromStringAndSize(NULL, HASH_SIZE)
            digests.append(digest)
            work[at].data = <const uint8_t *> PyBytes_AS_STRING(item)
            work[at].size = PyBytes_GET_SIZE(item)
            work[at].out = <uint8_t *> PyBytes_AS_STRING(digest)
        with nogil:
            for at in range(count):
                hash_tagged(work[at].out, &personal, work[at].data, work[at].size)
    finally:
        free(work)
    return digests


cdef inline bytes _bytes(object item):
    if type(item) is not bytes:
        raise TypeError(f"a kernel takes bytes, not {type(item).__name__}")
    return <bytes> item


cdef inline void _hash_pair(uint8_t *out, const Tag *tag, const uint8_t *pair) noexcept nogil:
    cdef uint8_t room[1 + 2 * HASH_SIZE]
    room[0] = NODE
    memcpy(room + 1, pair, 2 * HASH_SIZE)
    hash_tagged(out, tag, room, sizeof(room))


cdef size_t _fold(uint8_t *hashes, size_t width, const Tag *tag) noexcept nogil:
    """One level up, in place: neighbours are paired, the odd last one is promoted."""
    cdef size_t at
    for at in range(width // 2):
        _hash_pair(hashes + at * HASH_SIZE, tag, hashes + 2 * at * HASH_SIZE)
    if width % 2:
        memcpy(hashes + (width // 2) * HASH_SIZE, hashes + (width - 1) * HASH_SIZE, HASH_SIZE)
    return (width + 1) // 2


cdef uint8_t *_hash_leaves(tuple leaves, const Tag *tag) except NULL:
    """The lowest level, in memory that the caller frees."""
    cdef Py_ssize_t count = len(leaves), at
    cdef bytes leaf
    cdef uint8_t *hashes = <uint8_t *> malloc((count or 1) * HASH_SIZE)
    cdef Item *work = <Item *> malloc((count or 1) * sizeof(Item))
    try:
        if hashes is NULL or work is NULL:
            raise MemoryError()
        for at in range(count):
            leaf = _bytes(leaves[at])
            work[at].data = <const uint8_t *> PyBytes_AS_STRING(leaf)
            work[at].size = PyBytes_GET_SIZE(leaf)
            work[at].out = hashes + at * HASH_SIZE
        with nogil:
            for at in range(count):
                hash_prefixed(work[at].out, tag, LEAF, work[at].data, work[at].size)
    except:
        free(hashes)
        raise
    finally:
        free(work)
    return hashes


def merkle_root(bytes tag not None, leaves not None):
    """The root of the leaves in their order; the root of none is H(tag, b"")."""
    cdef Tag personal = as_tag(tag)
    cdef tuple held = tuple(leaves)
    cdef size_t width = len(held)
    if width == 0:
        return tagged_hash(tag, b"")
    cdef uint8_t *hashes = _hash_leaves(held, &personal)
    try:
        with nogil:
            while width > 1:
                width = _fold(hashes, width, &personal)
        return hashes[:HASH_SIZE]
    finally:
        free(hashes)


def merkle_path(bytes tag not None, leaves not None, Py_ssize_t index):
    """The siblings of one leaf from the bottom up; a promoted node has none at its level."""
    cdef Tag personal = as_tag(tag)
    cdef tuple held = tuple(leaves)
    cdef size_t width = len(held), at = <size_t> index, sibling
    cdef list path = []
    if not 0 <= index < len(held):
        raise IndexError(f"leaf {index} of a tree of {len(held)}")
    cdef uint8_t *hashes = _hash_leaves(held, &personal)
    try:
        while width > 1:
            sibling = at ^ 1
            if sibling < width:
                path.append(hashes[sibling * HASH_SIZE:(sibling + 1) * HASH_SIZE])
            with nogil:
                width = _fold(hashes, width, &personal)
            at //= 2
        return path
    finally:
        free(hashes)


def merkle_verify(
    bytes tag not None, bytes root not None, bytes leaf not None, index, count, path not None
):
    """Whether the path leads from this leaf at this index of so many leaves to the root."""
    cdef Tag personal = as_tag(tag)
    cdef uint8_t pair[2 * HASH_SIZE]
    cdef uint8_t node[HASH_SIZE]
    cdef bytes sibling
    cdef Py_ssize_t used = 0
    cdef tuple siblings = tuple(path)
    if not 0 <= index < count or len(root) != HASH_SIZE:
        return False
    hash_prefixed(node, &personal, LEAF, <const uint8_t *> leaf, len(leaf))
    while count > 1:
        if index ^ 1 < count:
            if used == len(siblings):
                return False
            sibling = _bytes(siblings[used])
            used += 1
            if len(sibling) != HASH_SIZE:
                return False
            memcpy(pair + (HASH_SIZE if index % 2 else 0), node, HASH_SIZE)
            memcpy(pair + (0 if index % 2 else HASH_SIZE), <const uint8_t *> sibling, HASH_SIZE)
            _hash_pair(node, &personal, pair)
        index >>= 1
        count = (count + 1) >> 1
    return used == len(siblings) and memcmp(node, <const uint8_t *> root, HASH_SIZE) == 0
