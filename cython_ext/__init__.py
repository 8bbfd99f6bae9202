"""Compiled kernels and their pure twins: bytes in, bytes or bool out."""
