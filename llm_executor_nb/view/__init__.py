"""Draws records and snapshots that it is given, as text and as HTML."""
