"""Builders: small datasets, models and files that tests make for themselves."""
