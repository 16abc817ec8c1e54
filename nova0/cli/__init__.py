"""The command line: one file per command in `commands/`; this floor may use every wing, lazily."""
