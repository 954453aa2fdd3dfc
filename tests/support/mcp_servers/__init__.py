"""MCP servers for tests: real ones, made with the official package."""
