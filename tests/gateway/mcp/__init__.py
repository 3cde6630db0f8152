"""Tools and resources for MCP hosts."""
