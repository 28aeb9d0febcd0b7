"""The serving table as a compacted topic, for services that keep a copy of their own."""

from refresh.topic.copy import TableCopy
from refresh.topic.kafka_log import KafkaRowLog
from refresh.topic.publisher import TopicPublisher

__all__ = ["KafkaRowLog", "TableCopy", "TopicPublisher"]
