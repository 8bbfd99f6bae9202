# What the state tree's kernels share: the shape of a decoded page, told in _tree.pyx.

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from cython_ext._sodium cimport Tag

cdef enum:
    PAGE_LEVELS = 3
    SLOTS = 8
    LEAVES_MAX = 2
    CHILD = 15
    CODES_SIZE = 4
    HASH_SIZE = 32
    LEAF_SIZE = 96
    STORED_LEAF_SIZE = 64
    HEAD_SIZE = 512
    PACKED_SIZE = 456
    LEVELS = 256

# As a change, a leaf whose hash is zero takes the leaf of that path away.
ctypedef struct Leaf:
    uint8_t hash[HASH_SIZE]
    uint8_t path[HASH_SIZE]
    uint8_t value_hash[HASH_SIZE]

# A page being written: its head, and the leaves of each slot wherever they stand.
ctypedef struct Work:
    uint8_t head[HEAD_SIZE]
    const Leaf *leaves[SLOTS][LEAVES_MAX]

cdef Tag KEY
cdef Tag VALUE
cdef Tag LEAF
cdef Tag NODE

cdef void hash_entry(Leaf *leaf, bytes key, bytes value)
cdef void hash_subtree(
    uint8_t *out, const Leaf **leaves, Py_ssize_t count, int level
) noexcept nogil
cdef bint sort_leaves(const Leaf **leaves, Py_ssize_t count) noexcept nogil
cdef void weigh(uint8_t *weights, const uint8_t *head) noexcept nogil
cdef bytes key_of_page(int level, const uint8_t *path)
cdef const uint8_t *find_page(
    list overlays, object fetch, list held, bytes key, const uint8_t *expected
) except NULL


cdef inline bint is_empty(const uint8_t *digest) noexcept nogil:
    cdef uint64_t words[4]
    memcpy(words, digest, HASH_SIZE)
    return not (words[0] | words[1] | words[2] | words[3])


cdef inline int bit(const uint8_t *path, int level) noexcept nogil:
    return path[level >> 3] >> (7 - (level & 7)) & 1


# The PAGE_LEVELS bits of a path that choose the slot in a page at this level; past its end, zeros.
cdef inline int slot_of(const uint8_t *path, int level) noexcept nogil:
    cdef int at = level >> 3
    cdef int window = path[at] << 8
    if at + 1 < HASH_SIZE:
        window |= path[at + 1]
    return window >> (16 - PAGE_LEVELS - (level & 7)) & (SLOTS - 1)


cdef inline uint8_t *slot_hash(uint8_t *head, int slot) noexcept nogil:
    return head + HASH_SIZE * (SLOTS + slot)


# The hash of binary node 2 or above in a decoded page.
cdef inline const uint8_t *packed_hash(const uint8_t *page, int index) noexcept nogil:
    return page + SLOTS + HASH_SIZE * (index - 2)
