"""The gateway beside the raw socket, and beside a plain server."""
