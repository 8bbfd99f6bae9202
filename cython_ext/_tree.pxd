# What the state tree's two kernels share: the shape of a decoded page, told in _tree.pyx.

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from cython_ext._sodium cimport Tag

cdef enum:
    LEAVES_MAX = 3
    CHILD = 15
    HASH_SIZE = 32
    LEAF_SIZE = 96
    STORED_LEAF_SIZE = 64
    HEAD_SIZE = 1024
    LEVELS = 256

# As a change, a leaf whose hash is zero takes the leaf of that path away.
ctypedef struct Leaf:
    uint8_t hash[HASH_SIZE]
    uint8_t path[HASH_SIZE]
    uint8_t value_hash[HASH_SIZE]

# A page being written: its head, and the leaves of each slot wherever they stand.
ctypedef struct Work:
    uint8_t head[HEAD_SIZE]
    const Leaf *leaves[16][LEAVES_MAX]

cdef Tag KEY
cdef Tag VALUE
cdef Tag LEAF
cdef Tag NODE

cdef void hash_entry(Leaf *leaf, bytes key, bytes value)
cdef void hash_subtree(
    uint8_t *out, const Leaf **leaves, Py_ssize_t count, int level
) noexcept nogil
cdef void weigh(uint8_t *weights, const uint8_t *head) noexcept nogil
cdef bytes key_of_page(int depth, const uint8_t *path)
cdef const uint8_t *find_page(
    object overlays, object fetch, list held, bytes key, bytes expected
) except NULL


cdef inline bint is_empty(const uint8_t *digest) noexcept nogil:
    cdef uint64_t words[4]
    memcpy(words, digest, HASH_SIZE)
    return not (words[0] | words[1] | words[2] | words[3])


cdef inline int bit(const uint8_t *path, int level) noexcept nogil:
    return path[level >> 3] >> (7 - (level & 7)) & 1


cdef inline int half_byte(const uint8_t *path, int depth) noexcept nogil:
    return path[depth >> 1] & 15 if depth & 1 else path[depth >> 1] >> 4
