"""Placement groups that outlived the training which made them.

Ray removes a group when the job ends; until then one whose creator was killed keeps its GPUs.
"""

from __future__ import annotations

from typing import Any


def remove_orphans(ray: Any) -> int:
    """Remove this job's placement groups whose creators are dead; returns how many there were."""
    from ray._private.state import state
    from ray.core.generated import gcs_pb2
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    table: Any = vars(gcs_pb2)["PlacementGroupTableData"]  # a class that protobuf makes by itself
    job = ray.get_runtime_context().get_job_id()
    removed = 0
    # The public table does not say who made a group, and Ray Train gives them no names.
    for content in state._connect_and_get_accessor().get_placement_group_table():
        group = table.FromString(content)
        is_ours = group.creator_job_id.hex() == job and not group.is_detached
        is_there = group.state != table.REMOVED
        if is_ours and is_there and group.creator_actor_dead and group.creator_actor_id:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))
            removed += 1
    return removed
