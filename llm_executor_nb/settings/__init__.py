"""Keys, the model -> provider table, and the one live configuration."""
