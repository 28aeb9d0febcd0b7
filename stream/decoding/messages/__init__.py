"""Messages of a topic into event batches: parse, then decode columns. Knows no broker."""

from stream.decoding.messages.decoder import MessageDecoder

__all__ = ["MessageDecoder"]
