"""FastMCP and the official Python SDK through the same rolling restart; their servers are as the benchmark's are."""
