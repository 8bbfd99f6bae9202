# libsodium's functions as typed C pointers, and the tagged hash over them. Filled by _sodium.pyx
# when it is imported; every kernel that hashes or verifies cimports from here.

from libc.stdint cimport uint8_t

ctypedef int (*sign_open_t)(
    uint8_t *message, unsigned long long *message_size,
    const uint8_t *signed_message, unsigned long long signed_size, const uint8_t *public_key,
) noexcept nogil

ctypedef int (*blake2b_t)(
    uint8_t *out, size_t out_size, const uint8_t *data, unsigned long long data_size,
    const uint8_t *key, size_t key_size, const uint8_t *salt, const uint8_t *personal,
) noexcept nogil

ctypedef int (*blake2b_init_t)(
    void *state, const uint8_t *key, size_t key_size, size_t out_size,
    const uint8_t *salt, const uint8_t *personal,
) noexcept nogil

ctypedef int (*blake2b_update_t)(
    void *state, const uint8_t *data, unsigned long long data_size
) noexcept nogil

ctypedef int (*blake2b_final_t)(void *state, uint8_t *out, size_t out_size) noexcept nogil

cdef sign_open_t sign_open
cdef blake2b_t blake2b
cdef blake2b_init_t blake2b_init
cdef blake2b_update_t blake2b_update
cdef blake2b_final_t blake2b_final

# A personalisation: the tag, zero padded to 16 bytes.
ctypedef struct Tag:
    uint8_t bytes[16]

# ValueError when the tag is longer than 16 bytes.
cdef Tag as_tag(bytes tag) except *


# out = H(tag, data): 32 bytes of BLAKE2b. Safe without the GIL; out may overlap data.
cdef inline void hash_tagged(
    uint8_t *out, const Tag *tag, const uint8_t *data, size_t data_size
) noexcept nogil:
    blake2b(out, 32, data, data_size, NULL, 0, NULL, tag.bytes)


# out = H(tag, prefix || data), for data too long to copy behind a prefix byte.
cdef void hash_prefixed(
    uint8_t *out, const Tag *tag, uint8_t prefix, const uint8_t *data, size_t data_size
) noexcept nogil
