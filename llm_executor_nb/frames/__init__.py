"""Columns of prompts: jobs over DataFrames and Series."""
