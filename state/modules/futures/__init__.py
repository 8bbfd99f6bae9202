"""Futures on indices that paid inference makes: batch auctions, margin, settlement."""
