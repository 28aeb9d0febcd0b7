"""New weights: from a flag over samples, training, gates and a person to what serves."""
