"""What the paper measured on its log, measured on any: overlaps of windows, mappings held and refreshed."""
