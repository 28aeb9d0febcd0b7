"""What retrieval and the model add to a log's own counts: repetition, comparison, ablations."""
