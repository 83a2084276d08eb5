"""A model's routes compiled, the one retry loop, the private event loop, and the functions users call."""
