"""How far one window of transitions has drifted from the one before it."""
