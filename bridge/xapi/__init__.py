"""Experience API: building, validating, storing and forwarding statements."""
