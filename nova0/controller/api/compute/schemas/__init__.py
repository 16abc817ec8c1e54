"""What may stand in request bodies and queries, by microversion: plain JSON Schema."""
