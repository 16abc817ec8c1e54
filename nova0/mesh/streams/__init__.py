"""Streams: bytes both ways between two nodes, opened by a ticket, held back by credit; and files over them."""
