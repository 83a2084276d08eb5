"""The cell magics and the panel."""
