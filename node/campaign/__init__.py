"""Failure campaigns: real nodes, real failures in an order that a seed decides, and a verdict."""
