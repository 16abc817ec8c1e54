"""The built-in filters, each under the name the field uses."""
