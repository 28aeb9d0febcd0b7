"""The command line: the only place that knows every room, and wires them."""
