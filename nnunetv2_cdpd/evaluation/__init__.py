"""Scores of predictions, restricted to what the source of each case annotates."""
