"""Prompts for classes and tasks, and their embeddings by a CLIP text encoder."""
