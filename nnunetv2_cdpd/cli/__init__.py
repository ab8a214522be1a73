"""The `cdpd` command: one module per command, which parses arguments and calls the library."""
