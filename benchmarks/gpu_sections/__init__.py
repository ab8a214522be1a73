"""What gpu.py measures, a concept per file."""
