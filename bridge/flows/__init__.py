"""Use cases, one verb each; the only place where a transaction begins."""
