"""The built-in weighers, each under the name the field uses."""
