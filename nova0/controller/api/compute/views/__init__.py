"""How compute objects look to a client at each microversion: rows in, plain mappings out."""
