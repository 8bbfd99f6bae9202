"""Syncing: how a node that is far behind takes over from its peers what is final already."""
