"""Files for clusters: what they start is the Ray that we depend on, and verbs that exist."""

from __future__ import annotations

import argparse
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from threedrs_workflows.cli import submit

RAY = Path(__file__).parents[1] / "infra" / "ray"


def read(name: str) -> dict[str, Any]:
    content = yaml.safe_load((RAY / name).read_text())
    assert isinstance(content, dict)
    return content


def clusters() -> Iterator[dict[str, Any]]:
    yield read("kuberay.yaml")["spec"]
    yield read("kuberay-job.yaml")["spec"]["rayClusterSpec"]


@pytest.mark.parametrize("cluster", list(clusters()))
def test_a_cluster_runs_our_ray_and_takes_jobs(cluster: dict[str, Any]) -> None:
    project = tomllib.loads((RAY.parents[1] / "pyproject.toml").read_text())["project"]
    (ours,) = [each for each in project["dependencies"] if each.startswith("ray[")]
    assert ours.endswith(f"=={cluster['rayVersion']}")
    head = cluster["headGroupSpec"]
    assert head["rayStartParams"] == {"num-cpus": "0", "include-dashboard": "true"}
    groups = [head, *cluster["workerGroupSpecs"]]
    images = {each["template"]["spec"]["containers"][0]["image"] for each in groups}
    assert images == {f"registry.example/threedrs:{project['version']}"}


def test_a_job_submits_a_grid_to_its_own_cluster_and_waits() -> None:
    job = read("kuberay-job.yaml")
    words = shlex.split(job["spec"]["entrypoint"])
    assert job["kind"] == "RayJob" and words[:2] == ["workflows", "submit"]
    parser = argparse.ArgumentParser()
    submit.add_arguments(parser)
    parser.add_argument("--ray")  # of all verbs
    told = parser.parse_args(words[2:])
    mounts = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert told.file.parent in {Path(each["mountPath"]) for each in mounts["volumeMounts"]}
    assert told.ray == "auto"
    assert told.wait, "a supervisor that leaves its run would end the job, and with it the cluster"


def test_the_head_of_ray_up_takes_jobs_and_every_node_has_the_wheel() -> None:
    cluster = read("cluster.yaml")
    assert cluster["head_node_type"] in cluster["available_node_types"]
    assert "--include-dashboard=true" in cluster["head_start_ray_commands"][-1]
    project = tomllib.loads((RAY.parents[1] / "pyproject.toml").read_text())["project"]
    assert f"threedrs-{project['version']}-py3-none-any.whl" in cluster["setup_commands"][0]
