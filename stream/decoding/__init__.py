"""Raw columns in, events out: whose watch of which cluster, when, and whether it counts."""
