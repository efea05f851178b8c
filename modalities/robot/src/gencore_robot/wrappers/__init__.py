"""Any gymnasium environment in a policy's own words, by a mapping file."""

from gencore_robot.wrappers.library import for_environment, load
from gencore_robot.wrappers.mapped import Mapped, MappedVector
from gencore_robot.wrappers.mapping import EnvMapping

__all__ = ["EnvMapping", "Mapped", "MappedVector", "for_environment", "load"]
