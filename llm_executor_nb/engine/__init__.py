"""The retry loop and what it needs: one run, its requests, streams, the private event loop."""
