"""Running chunks of actions: any object with ``predict_chunk`` becomes a controller of one or many environments."""

from gencore_robot.executor.chunks import ChunkExecutor
from gencore_robot.executor.ensemble import TemporalEnsemble
from gencore_robot.executor.interpolate import substeps
from gencore_robot.executor.paced import Paced
from gencore_robot.executor.realtime import RealtimeExecutor

__all__ = ["ChunkExecutor", "Paced", "RealtimeExecutor", "TemporalEnsemble", "substeps"]
