"""Bare loops over libsodium's pointers: the limits that the scripts in bench/ measure against."""

from libc.stdint cimport uint8_t

from cython_ext._sodium cimport Tag, as_tag, blake2b, hash_tagged, sign_open


cdef enum:
    DISTINCT_MAX = 256


def verify_loop(list signed, Py_ssize_t repeats):
    """Verify (public key, signed message) pairs in turn, so many in all; how many held."""
    cdef const uint8_t *keys[DISTINCT_MAX]
    cdef const uint8_t *starts[DISTINCT_MAX]
    cdef unsigned long long sizes[DISTINCT_MAX]
    cdef Py_ssize_t held = 0, distinct = len(signed), at, turn
    if not 0 < distinct <= DISTINCT_MAX:
        raise ValueError(f"between 1 and {DISTINCT_MAX} distinct signatures")
    for at in range(distinct):
        keys[at] = <bytes> signed[at][0]
        starts[at] = <bytes> signed[at][1]
        sizes[at] = len(<bytes> signed[at][1])
    with nogil:
        for turn in range(repeats):
            at = turn % distinct
            held += sign_open(NULL, NULL, starts[at], sizes[at], keys[at]) == 0
    return held


def hash_loop(bytes tag, bytes data, Py_ssize_t repeats):
    """Hash the same bytes so many times by the naked pointer; the last digest."""
    cdef Tag personal = as_tag(tag)
    cdef uint8_t out[32]
    cdef const uint8_t *start = data
    cdef unsigned long long size = len(data)
    with nogil:
        for _ in range(repeats):
            blake2b(out, 32, start, size, NULL, 0, NULL, personal.bytes)
    return out[:32]


def tagged_loop(bytes tag, bytes data, Py_ssize_t repeats):
    """The same by the inline function that every kernel calls per item without the GIL."""
    cdef Tag personal = as_tag(tag)
    cdef uint8_t out[32]
    cdef const uint8_t *start = data
    cdef size_t size = len(data)
    with nogil:
        for _ in range(repeats):
            hash_tagged(out, &personal, start, size)
    return out[:32]
