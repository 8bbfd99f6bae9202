"""Parts of the state tree, compiled: hashes of whole subtrees, and what joins them.

The hashes are those of _tree_py.py.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy

from cython_ext._sodium cimport hash_tagged
from cython_ext._tree cimport (
    HASH_SIZE,
    KEY,
    LEAF_SIZE,
    LEVELS,
    NODE,
    Leaf,
    hash_entry,
    hash_subtree,
    sort_leaves,
)


cdef bint _stands_under(const uint8_t *path, int level, const uint8_t *prefix) noexcept nogil:
    """Whether a path begins with this many bits of a prefix, whose last byte ends in zeros."""
    cdef int whole = level >> 3
    if memcmp(path, prefix, whole):
        return False
    return not level & 7 or path[whole] & 0xFF << (8 - (level & 7)) & 0xFF == prefix[whole]


def root_of(items, int level=0, bytes prefix=b""):
    """The hash over all items at once, without pages: the root, or that of a subtree.

    A subtree's keys have paths that begin with `level` bits of `prefix`, padded with zeros;
    ValueError when one does not, or comes twice.
    """
    if not 0 <= level < LEVELS or len(prefix) != level + 7 >> 3:
        raise ValueError("a subtree starts at a level of the path, and its prefix has those bits")
    cdef Py_ssize_t at, count = 0, room = 1024
    cdef Leaf *leaves = <Leaf *> PyMem_Malloc(room * LEAF_SIZE)
    cdef Leaf *larger
    cdef const Leaf **sorted_leaves = NULL
    cdef uint8_t root[HASH_SIZE]
    cdef bytes key, value
    cdef bint distinct, at_home = True
    cdef const uint8_t *bits = <const uint8_t *> PyBytes_AS_STRING(prefix)
    try:
        for key, value in items:
            if key is None or value is None:
                raise TypeError("keys and values are bytes, not None")
            if count == room or leaves == NULL:
                room *= 2
                larger = <Leaf *> PyMem_Realloc(leaves, room * LEAF_SIZE)
                if larger == NULL:
                    raise MemoryError
                leaves = larger
            hash_entry(leaves + count, key, value)
            count += 1
        sorted_leaves = <const Leaf **> PyMem_Malloc(max(count, 1) * sizeof(Leaf *))
        if sorted_leaves == NULL:
            raise MemoryError
        with nogil:
            for at in range(count):
                sorted_leaves[at] = leaves + at
            distinct = sort_leaves(sorted_leaves, count)
            if count:  # what stands between the first and the last begins as both of them do
                at_home = _stands_under(sorted_leaves[0].path, level, bits) and _stands_under(
                    sorted_leaves[count - 1].path, level, bits
                )
            if distinct and at_home:
                hash_subtree(root, sorted_leaves, count, level)
        if not distinct:
            raise ValueError("a key comes twice")
        if not at_home:
            raise ValueError("a key lies outside the subtree")
        return root[:HASH_SIZE]
    finally:
        PyMem_Free(leaves)
        PyMem_Free(sorted_leaves)


def path_of(bytes key):
    """The 256-bit path of a key."""
    cdef uint8_t path[HASH_SIZE]
    hash_tagged(path, &KEY, <const uint8_t *> PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
    return path[:HASH_SIZE]


def node_hash(bytes left, bytes right):
    """The hash of a node over two subtrees with more than one leaf between them."""
    cdef uint8_t pair[2 * HASH_SIZE]
    cdef uint8_t digest[HASH_SIZE]
    if len(left) != HASH_SIZE or len(right) != HASH_SIZE:
        raise ValueError("a subtree's hash has 32 bytes")
    memcpy(pair, PyBytes_AS_STRING(left), HASH_SIZE)
    memcpy(pair + HASH_SIZE, PyBytes_AS_STRING(right), HASH_SIZE)
    hash_tagged(digest, &NODE, pair, sizeof(pair))
    return digest[:HASH_SIZE]
