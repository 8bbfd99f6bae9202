"""The main job: paid model calls make an index, and futures settle on it, in one command.

Rule: whatever happens on the chain goes through the JSON-RPC client; the files of this package
that are named for a thing (trace, expected, agents, receipts, report) do no network work at all.
"""
