"""Merkle-sum trees in C arrays: every node commits to its children's hashes and sums."""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from cython_ext._sodium cimport Tag, as_tag, hash_tagged

cdef extern from *:
    """
    #if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    #define sahara_big_endian(x) __builtin_bswap64(x)
    #else
    #define sahara_big_endian(x) (x)
    #endif
    """
    uint64_t sahara_big_endian(uint64_t number) noexcept nogil

cdef enum:
    HASH_SIZE = 32
    FIELDS = 5
    SUMS_SIZE = 40
    NODE_SIZE = 72
    NODE = 0x01

cdef uint64_t LIMIT = <uint64_t> 1 << 63

# A node as it is hashed: 32 bytes of hash, then five big-endian sums. Two neighbours in an array
# are, behind the prefix byte, the preimage of their parent.
ctypedef struct Node:
    uint8_t hash[HASH_SIZE]
    uint64_t sums[FIELDS]


cdef inline bint _join(Node *out, const Tag *tag, const Node *pair) noexcept nogil:
    """The parent of two neighbours; false when a sum leaves the range. out may be pair."""
    cdef uint8_t room[1 + 2 * NODE_SIZE]
    cdef uint64_t total, overflow = 0
    cdef int field
    room[0] = NODE
    memcpy(room + 1, pair, 2 * NODE_SIZE)
    for field in range(FIELDS):
        total = sahara_big_endian(pair[0].sums[field]) + sahara_big_endian(pair[1].sums[field])
        overflow |= total
        out.sums[field] = sahara_big_endian(total)
    hash_tagged(out.hash, tag, room, sizeof(room))
    return overflow < LIMIT


cdef size_t _fold(Node *nodes, size_t width, const Tag *tag) noexcept nogil:
    """One level up, in place: the new width, or 0 when a sum leaves the range."""
    cdef size_t at
    for at in range(width // 2):
        if not _join(nodes + at, tag, nodes + 2 * at):
            return 0
    if width % 2:
        nodes[width // 2] = nodes[width - 1]
    return (width + 1) // 2


cdef int _fill(Node *node, object leaf_hash, tuple sums) except -1:
    """One node from Python values: ValueError for a wrong shape, OverflowError out of range."""
    cdef int field
    cdef uint64_t number
    if type(leaf_hash) is not bytes or len(<bytes> leaf_hash) != HASH_SIZE:
        raise ValueError("a node's hash is 32 bytes")
    if sums is None or len(sums) != FIELDS:
        raise ValueError("a node has five sums: calls, in, cached, out, value")
    memcpy(node.hash, PyBytes_AS_STRING(leaf_hash), HASH_SIZE)
    for field in range(FIELDS):
        number = sums[field]
        if number >= LIMIT:
            raise OverflowError("a sum is at most 2^63 - 1")
        node.sums[field] = sahara_big_endian(number)
    return 0


cdef Node *_lowest(list hashes, list rows) except NULL:
    """The lowest level, in memory that the caller frees."""
    cdef Py_ssize_t count = len(hashes), at
    if count == 0 or len(rows) != count:
        raise ValueError(f"{count} leaf hashes and {len(rows)} rows of sums make no tree")
    cdef Node *nodes = <Node *> malloc(count * sizeof(Node))
    if nodes is NULL:
        raise MemoryError()
    try:
        for at in range(count):
            _fill(nodes + at, hashes[at], rows[at])
    except:
        free(nodes)
        raise
    return nodes


cdef tuple _sums(const Node *node):
    return tuple([sahara_big_endian(node.sums[field]) for field in range(FIELDS)])


def sum_root(bytes tag not None, leaf_hashes not None, sums not None):
    """The root hash and the five totals."""
    cdef Tag personal = as_tag(tag)
    cdef list hashes = list(leaf_hashes)
    cdef size_t width = len(hashes)
    cdef Node *nodes = _lowest(hashes, list(sums))
    try:
        with nogil:
            while width > 1:
                width = _fold(nodes, width, &personal)
        if width == 0:
            raise OverflowError("a partial sum is at most 2^63 - 1")
        return nodes.hash[:HASH_SIZE], _sums(nodes)
    finally:
        free(nodes)


def sum_path(bytes tag not None, leaf_hashes not None, sums not None, Py_ssize_t index):
    """The siblings (hash, sums) of one leaf from the bottom up."""
    cdef Tag personal = as_tag(tag)
    cdef list hashes = list(leaf_hashes), path = []
    cdef size_t width = len(hashes), at = <size_t> index
    if width and not 0 <= index < <Py_ssize_t> width:
        raise IndexError(f"leaf {index} of a tree of {width}")
    cdef Node *nodes = _lowest(hashes, list(sums))
    try:
        while width > 1:
            if at ^ 1 < width:
                path.append((nodes[at ^ 1].hash[:HASH_SIZE], _sums(nodes + (at ^ 1))))
            with nogil:
                width = _fold(nodes, width, &personal)
            at //= 2
        if width == 0:
            raise OverflowError("a partial sum is at most 2^63 - 1")
        return path
    finally:
        free(nodes)


def sum_verify(
    bytes tag not None, bytes root not None, tuple total not None, bytes leaf_hash not None,
    tuple leaf_sums not None, index, path not None,
):
    """Whether the path leads from this leaf, at this index, to the root and the totals."""
    cdef Tag personal = as_tag(tag)
    cdef Node claimed, node
    cdef Node pair[2]
    cdef list siblings = list(path)
    cdef uint64_t count, at, before = 0
    cdef Py_ssize_t used = 0
    try:
        _fill(&claimed, root, total)
        _fill(&node, leaf_hash, leaf_sums)
        count = total[0]
        if leaf_sums[0] != 1 or not 0 <= index < count:
            return False
        at = index
        while count > 1:
            if at ^ 1 < count:
                if used == len(siblings):
                    return False
                pair[at & 1] = node
                sibling_hash, sibling_sums = siblings[used]
                _fill(&pair[(at & 1) ^ 1], sibling_hash, sibling_sums)
                used += 1
                if not _join(&node, &personal, pair):
                    return False
                if at & 1:
                    before += sahara_big_endian(pair[0].sums[0])
            at >>= 1
            count = (count + 1) >> 1
    except (ValueError, OverflowError):
        return False
    return used == len(siblings) and before == index and not memcmp(&node, &claimed, NODE_SIZE)
