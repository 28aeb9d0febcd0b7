"""A worker among others: the partitions that its group gives it, one shard each."""
