"""Structured output: a schema in, the object of an answer out. Needs core alone."""
