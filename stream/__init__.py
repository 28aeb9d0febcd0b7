"""Events in, drift reports out."""
