"""The Helm chart: its values against their schema, and what it renders to against Kubernetes' own schemas.

It is rendered by ``helm`` where that is installed. Otherwise ``GO_TEMPLATE`` names the unpacked npm package
``@evertdespiegeleer/go-template`` (Go's own templates as WebAssembly): the chart uses nothing that is Helm's alone.
"""

import copy
import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.docker.test_compose import DOCKERFILE, OURS
from voiceauth.benchmarks.restarts import GRACE_SECONDS
from voiceauth.launcher.parts import PARTS
from voiceauth.launcher.web import STOP_SECONDS

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "docker" / "helm" / "voiceauth"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
GO_TEMPLATE = os.environ.get("GO_TEMPLATE", "")
KUBERNETES = ("1.30", "1.37")

needs_a_renderer = pytest.mark.skipif(
    not shutil.which("helm") and not GO_TEMPLATE, reason="helm is not installed, and GO_TEMPLATE names no renderer"
)


def merged(values: dict[str, Any], *others: dict[str, Any]) -> dict[str, Any]:
    """``values`` with those of ``others`` in their place, as Helm merges files of values."""
    result = copy.deepcopy(values)
    for other in others:
        for name, value in other.items():
            both = isinstance(value, dict) and isinstance(result.get(name), dict)
            result[name] = merged(result[name], value) if both else value
    return result


GPU = merged(VALUES, yaml.safe_load((CHART / "values-gpu.yaml").read_text()))
FULL = merged(
    GPU,
    {
        "ingress": {"className": "nginx"},
        "parts": {"scoring": {"autoscaling": {"most": 8}}},
        "environment": {"VOICEAUTH_AUDIO_STORAGE": "s3://voices/production"},
        "volumes": {"className": "nfs"},
    },
)
NO_STREAMS = merged(VALUES, {"parts": {"streaming": {"replicas": 0}}})


def rendered(values: dict[str, Any], tmp_path: Path) -> list[dict[str, Any]]:
    """The objects that the chart makes of ``values``."""
    if shutil.which("helm"):
        given = tmp_path / "given.yaml"
        given.write_text(yaml.safe_dump(values))
        subprocess.run(["helm", "lint", "--strict", CHART, "--values", given], check=True)
        told = subprocess.run(
            ["helm", "template", "voice", CHART, "--values", given], check=True, capture_output=True, text=True
        ).stdout
        return [each for each in yaml.safe_load_all(told) if each]
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    context = {"Values": values, "Release": {"Name": "voice"}, "Chart": {"AppVersion": version}}
    helpers = "".join(path.read_text() for path in sorted((CHART / "templates").glob("_*.tpl")))
    templates = [helpers + path.read_text() for path in sorted((CHART / "templates").glob("*.yaml"))]
    told = subprocess.run(
        ["node", Path(__file__).with_name("render.mjs"), f"{GO_TEMPLATE}/dist/main.js"],
        input=json.dumps({"templates": templates, "given": context}),
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [each for text in json.loads(told) for each in yaml.safe_load_all(text) if each]


def of_kind(objects: Iterable[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def test_the_values_follow_their_schema_and_a_misspelt_one_is_noticed() -> None:
    for values in (VALUES, GPU, FULL, NO_STREAMS):
        jsonschema.validate(values, SCHEMA)
    mistakes: list[dict[str, Any]] = [
        {"part": {}},
        {"parts": {"beat": {"replicas": 2}}},
        {"parts": {"web": {"memory": "1 GB"}}},
    ]
    for wrong in mistakes:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(merged(VALUES, wrong), SCHEMA)


def test_every_part_of_the_service_is_in_it() -> None:
    assert set(VALUES["parts"]) == set(PARTS) | {"streaming"}


def test_a_part_has_the_time_that_it_needs_to_end() -> None:
    for name in ("web", "streaming"):
        assert VALUES["parts"][name]["graceSeconds"] > VALUES["parts"][name]["drainSeconds"] + STOP_SECONDS
    assert {name: VALUES["parts"][name]["graceSeconds"] for name in PARTS} == GRACE_SECONDS  # by which it is measured


@needs_a_renderer
@pytest.mark.parametrize("values", [VALUES, GPU, FULL, NO_STREAMS], ids=["default", "gpu", "full", "no-streams"])
@pytest.mark.parametrize("version", KUBERNETES)
def test_what_it_renders_is_valid_for_kubernetes(values: dict[str, Any], version: str, tmp_path: Path) -> None:
    objects = rendered(values, tmp_path)
    for each in objects:
        kubernetes_validate.validate(each, version, strict=True)
    assert len({(each["kind"], each["metadata"]["name"]) for each in objects}) == len(objects)
    parts = {name for name, part in values["parts"].items() if part["replicas"]}
    assert set(of_kind(objects, "Deployment")) == {f"voice-{name}" for name in parts}


@needs_a_renderer
def test_no_pod_is_privileged_and_each_has_limits_probes_and_the_secrets_as_files(tmp_path: Path) -> None:
    objects = rendered(FULL, tmp_path)
    pods = [each["spec"]["template"]["spec"] for each in objects if each["kind"] in ("Deployment", "Job")]
    assert len(pods) == 6
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
        assert f"USER {pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" in DOCKERFILE
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        variables = {each["name"]: each["value"] for each in container["env"]}
        secrets = {name: value for name, value in OURS["web"]["environment"].items() if name.endswith("_FILE")}
        assert {name: Path(variables[name]).name for name in secrets} == {
            name: Path(value).name for name, value in secrets.items()
        }
        mounted = {each["name"] for each in container["volumeMounts"]}
        assert mounted == {each["name"] for each in pod["volumes"]}
    for deployment in of_kind(objects, "Deployment").values():
        assert "livenessProbe" in deployment["spec"]["template"]["spec"]["containers"][0]


@needs_a_renderer
def test_volumes_lie_in_folders_that_the_image_gives_to_its_user(tmp_path: Path) -> None:
    for deployment in of_kind(rendered(FULL, tmp_path), "Deployment").values():
        for mount in deployment["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]:
            if mount["mountPath"].startswith("/var/lib"):
                assert mount["mountPath"] in DOCKERFILE


@needs_a_renderer
def test_only_training_writes_models_and_the_journal(tmp_path: Path) -> None:
    deployments = of_kind(rendered(FULL, tmp_path), "Deployment")
    for name, deployment in deployments.items():
        mounts = deployment["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        writable = {each["name"] for each in mounts if not each.get("readOnly")}
        assert bool(writable & {"models", "erasures"}) == (name == "voice-training")


@needs_a_renderer
def test_with_models_in_a_bucket_no_volume_is_shared_for_them(tmp_path: Path) -> None:
    values = merged(FULL, {"environment": {"VOICEAUTH_MODELS_STORAGE": "s3://voices/models"}})
    objects = rendered(values, tmp_path)
    assert "voice-models" not in of_kind(objects, "PersistentVolumeClaim")
    for name in ("voice-web", "voice-streaming", "voice-scoring", "voice-training"):
        pod = of_kind(objects, "Deployment")[name]["spec"]["template"]["spec"]
        volumes = {each.pop("name"): each for each in pod["volumes"]}
        mounts = {each["name"]: each for each in pod["containers"][0]["volumeMounts"]}
        assert volumes["models"] == {"emptyDir": {"sizeLimit": "5Gi"}} and "readOnly" not in mounts["models"]


@needs_a_renderer
def test_the_migration_comes_before_the_new_pods_and_the_gpu_goes_to_training(tmp_path: Path) -> None:
    objects = rendered(FULL, tmp_path)
    assert (
        of_kind(objects, "Job")["voice-migrate"]["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    )
    training = of_kind(objects, "Deployment")["voice-training"]["spec"]["template"]["spec"]["containers"][0]
    assert training["image"] == "voiceauth:gpu" and training["resources"]["limits"]["nvidia.com/gpu"] == 1
    scoring = of_kind(objects, "Deployment")["voice-scoring"]["spec"]
    assert "replicas" not in scoring and of_kind(objects, "HorizontalPodAutoscaler")["voice-scoring"]
    (rule,) = of_kind(objects, "Ingress")["voice"]["spec"]["rules"]
    assert [path["backend"]["service"]["name"] for path in rule["http"]["paths"]] == ["voice-streaming", "voice-web"]
