"""Checks of the demo, made from outside: each takes what the client read and finds what is wrong.

Finders return sentences, none when all is well; a check holds when its finder finds nothing.
"""
