"""Bulk inference: an order's rows in chunks that survive a crash and that several workers share.

The rows of an order are sorted for prefix caching and cut into chunks. Each chunk is claimed by one worker, inferred,
and written as one checksummed shard; whoever finds all shards there assembles them. An order that fits one chunk, or
whose answers are kept in memory only, is asked for directly.
"""

from refresh.bulk.inference import infer_rows
from refresh.bulk.options import BulkOptions
from refresh.bulk.orders import finish_order, sweep_orders
from refresh.bulk.report import InferenceReport
from refresh.bulk.salvage import finished_chunks

__all__ = ["BulkOptions", "InferenceReport", "finish_order", "finished_chunks", "infer_rows", "sweep_orders"]
