"""Teaching the embedded model: first to read the retrieved line, then the transitions of the log."""
