"""Draws records and snapshots handed to it, as text and as HTML."""
