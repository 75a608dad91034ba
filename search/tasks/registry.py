"""The tasks by name."""

from search.tasks.depth import Depth
from search.tasks.pose import Pose
from search.tasks.segmentation import Segmentation
from search.tasks.task import Task

TASKS: dict[str, Task] = {task.name: task for task in (Segmentation(), Depth(), Pose())}
