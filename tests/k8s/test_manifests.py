"""Every rendering: valid, safe, and without a name that leads nowhere."""

import functools
import json
import re
import shutil
from pathlib import Path

import pytest
from jsonschema import ValidationError
from kubernetes_validate import validate

import dem
from dem.errors import ExitCode
from tests.k8s.custom import is_custom, validate_custom
from tests.k8s.jobs import action_for
from tests.k8s.manifests import (
    JOBS,
    OVERLAYS,
    RENDERINGS,
    WHOLE,
    Template,
    jobs_of,
    needs_kubectl,
    of_kind,
    render,
    rendered,
    templates,
)
from tests.processes import ROOT

VERSIONS = ("1.33", "1.34", "1.35", "1.36")  # from the first with a stable backoffLimitPerIndex on
OURS = {"batch/v1", "v1", "networking.k8s.io/v1", "apps/v1"}
NAMESPACE = "deep-embedded-music"
RESTRICTED_VOLUMES = {"configMap", "csi", "emptyDir", "persistentVolumeClaim"}

pytestmark = needs_kubectl


def pods_of(name: str) -> list[Template]:
    found = list(templates(rendered(name)))
    assert found
    return found


@functools.cache
def validate_strictly(text: str, version: str) -> None:
    """Check an object, given as JSON; many renderings share the same ones."""
    assert validate(json.loads(text), version, strict=True) == version


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", RENDERINGS)
def test_every_object_has_the_strict_schema(name: str, version: str) -> None:
    for manifest in rendered(name):
        if not is_custom(manifest):
            validate_strictly(json.dumps(manifest), version)
            continue
        validate_custom(manifest)
        if manifest["kind"] == "JobSet":
            for job in jobs_of(manifest):
                validate_strictly(json.dumps(job), version)


def test_a_field_that_a_custom_resource_does_not_have_is_found() -> None:
    manifests = rendered("gke/train+a3-highgpu-8g+multi-host+jobset+kueue")
    (job_set,) = of_kind(manifests, "JobSet").values()
    for key, value in (("maxRestart", 3), ("restartStrategy", "Sometimes")):
        policy = job_set["spec"]["failurePolicy"] | {key: value}
        with pytest.raises(ValidationError, match=str(value) if key[-1] == "y" else key):
            validate_custom(job_set | {"spec": job_set["spec"] | {"failurePolicy": policy}})
    (queue,) = of_kind(manifests, "LocalQueue").values()
    with pytest.raises(KeyError, match="v1beta1"):
        validate_custom(queue | {"apiVersion": "kueue.x-k8s.io/v1beta1"})


@pytest.mark.parametrize("name", OVERLAYS)
def test_only_stable_apis_are_used(name: str) -> None:
    assert {manifest["apiVersion"] for manifest in rendered(name)} == OURS


@pytest.mark.parametrize("name", RENDERINGS)
def test_all_is_in_one_namespace_that_admits_restricted_pods_only(name: str) -> None:
    (namespace,) = of_kind(rendered(name), "Namespace").values()
    assert namespace["metadata"]["name"] == NAMESPACE
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    clusterwide = ("Namespace", "ClusterQueue", "ResourceFlavor")
    for manifest in rendered(name):
        inside = manifest["kind"] not in clusterwide
        assert manifest["metadata"].get("namespace") == (NAMESPACE if inside else None)


@pytest.mark.parametrize("name", RENDERINGS)
def test_pods_have_no_privileges(name: str) -> None:
    for pod in pods_of(name):
        context = pod.spec["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] == 10001
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod.container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod.spec)
        for volume in pod.spec["volumes"]:
            (kind,) = set(volume) - {"name"}
            assert kind in RESTRICTED_VOLUMES


@pytest.mark.parametrize("name", RENDERINGS)
def test_service_accounts_have_no_token_of_the_api_server(name: str) -> None:
    for account in of_kind(rendered(name), "ServiceAccount").values():
        assert account["automountServiceAccountToken"] is False


@pytest.mark.parametrize("name", RENDERINGS)
def test_what_programs_write_beside_their_results_is_on_scratch(name: str) -> None:
    for pod in pods_of(name):
        (scratch,) = [one for one in pod.spec["volumes"] if one["name"] == "scratch"]
        assert "sizeLimit" in scratch["emptyDir"]
        mounts = {mount["mountPath"]: mount["name"] for mount in pod.container["volumeMounts"]}
        assert mounts["/tmp"] == "scratch"
        variables = {entry["name"]: entry.get("value") for entry in pod.container["env"]}
        for variable in ("HOME", "MPLCONFIGDIR"):
            assert variables[variable].startswith("/tmp")


@pytest.mark.parametrize("name", RENDERINGS)
def test_resources_are_asked_for_and_limited(name: str) -> None:
    for pod in pods_of(name):
        requests, limits = (pod.container["resources"][key] for key in ("requests", "limits"))
        assert {"cpu", "memory", "ephemeral-storage"} <= set(requests)
        for resource in ("memory", "ephemeral-storage"):
            assert requests[resource] == limits[resource]


@pytest.mark.parametrize("name", RENDERINGS)
def test_images_have_a_version(name: str) -> None:
    for pod in pods_of(name):
        image, colon, tag = pod.container["image"].partition(":")
        assert re.fullmatch(r"[a-z0-9./-]+/deep-embedded-music/\w+|deep-embedded-music/\w+", image)
        assert colon
        assert tag not in ("", "latest")
        stage = "features" if pod.name == "features" else "trainer"
        assert image.endswith(f"/{stage}")
        assert "imagePullPolicy" not in pod.container


def test_the_overlay_names_the_tag_of_this_release() -> None:
    """cloudbuild.yaml pushes it when the tag is built; docs/cloud.md sets a commit instead."""
    for pod in pods_of("gke"):
        assert pod.container["image"].endswith(f":v{dem.__version__}")


@pytest.mark.parametrize("name", RENDERINGS)
def test_jobs_end_and_only_worthwhile_failures_are_tried_again(name: str) -> None:
    for job in of_kind(rendered(name), "Job").values():
        spec = job["spec"]
        assert spec["backoffLimit"] >= 6
        assert spec["activeDeadlineSeconds"] >= 3600
        assert spec["ttlSecondsAfterFinished"] >= 3600
        assert spec["template"]["spec"]["restartPolicy"] == "Never"
        assert spec["template"]["spec"]["terminationGracePeriodSeconds"] > 20
        ignored, *lost, failed = spec["podFailurePolicy"]["rules"]
        condition = {"type": "DisruptionTarget", "status": "True"}
        assert ignored == {"action": "Ignore", "onPodConditions": [condition]}
        codes = {"containerName": "main", "operator": "In", "values": [2]}
        assert failed == {"action": "FailJob", "onExitCodes": codes}
        peers = {"action": "Ignore", "onExitCodes": codes | {"values": [3, 143]}}
        assert lost == ([peers] if '"DEM_WORKERS"' in json.dumps(job) else [])


def test_a_lost_host_is_counted_once_and_delays_by_its_own_index() -> None:
    """Exit 3 and 143 are of its peers; a delay over all indexes would double with each of them."""
    train = of_kind(rendered("gke+multi-host"), "Job")["train"]["spec"]
    assert [
        action_for(train["podFailurePolicy"], code, disrupted=disrupted)
        for code, disrupted in ((3, False), (143, False), (143, True), (137, False), (1, False))
    ] == ["Ignore", "Ignore", "Ignore", "Count", "Count"]
    assert action_for(train["podFailurePolicy"], 2, disrupted=False) == "FailJob"
    assert train["backoffLimitPerIndex"] == 6
    assert train["maxFailedIndexes"] == 0  # the others cannot go on without it
    assert ExitCode.LOST_PEER == 3


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_stage_waits_until_it_is_applied_alone(name: str) -> None:
    jobs = of_kind(rendered(name), "Job")
    assert set(jobs) == {*JOBS, "tune-chief", "tune-workers"}
    starting = {job for job, manifest in jobs.items() if not manifest["spec"]["suspend"]}
    assert starting == {"features"}
    for stage in (*JOBS, "tune"):
        for job, alone in of_kind(rendered(f"{name}/{stage}"), "Job").items():
            assert alone["spec"]["suspend"] is False
            waiting = jobs[job]["spec"] | {"suspend": False}
            assert alone["spec"] == waiting  # a Job's Pods cannot be changed later


@pytest.mark.parametrize("name", RENDERINGS)
def test_every_name_that_is_referred_to_exists(name: str) -> None:
    manifests = rendered(name)
    config_maps = of_kind(manifests, "ConfigMap")
    for pod in pods_of(name):
        volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
        mounts = [mount["name"] for mount in pod.container["volumeMounts"]]
        assert sorted(mounts) == sorted(volumes)
        for volume in volumes.values():
            if "configMap" in volume:
                assert volume["configMap"]["name"] in config_maps
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                assert claim in of_kind(manifests, "PersistentVolumeClaim")
        for source in pod.container["envFrom"]:
            assert source["configMapRef"]["name"] in config_maps
        assert pod.spec["serviceAccountName"] in of_kind(manifests, "ServiceAccount")
        if "subdomain" in pod.spec:
            services = of_kind(manifests, "Service").values()
            names = [service["metadata"]["name"] for service in services]
            assert pod.spec["subdomain"] in names


@pytest.mark.parametrize("name", WHOLE)
def test_services_lead_to_one_kind_of_pod_and_policies_select_some(name: str) -> None:
    pods = pods_of(name)
    for service in of_kind(rendered(name), "Service").values():
        chosen = [one for one in pods if service["spec"]["selector"].items() <= one.labels.items()]
        assert len(chosen) == 1
        ports = {port["name"]: port["containerPort"] for port in chosen[0].container["ports"]}
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]
    components = {pod.labels["app.kubernetes.io/component"] for pod in pods}
    assert len(components) == len(pods)
    text = json.dumps(list(of_kind(rendered(name), "NetworkPolicy").values()))
    assert set(re.findall(r'component": "([^"]*)"', text)) <= components


def test_the_bucket_overlay_has_gpus_and_the_local_one_has_none() -> None:
    with_gpu = {
        name: {pod.name for pod in pods_of(name) if "nvidia.com/gpu" in json.dumps(pod.spec)}
        for name in OVERLAYS
    }
    assert with_gpu == {"gke": {"train", "tune-workers"}, "local": set()}
    for pod in pods_of("gke"):
        assert ("nodeSelector" in pod.spec) == (pod.name in with_gpu["gke"])
        asked = {one["name"]: one.get("value") for one in pod.spec["containers"][0]["env"]}
        assert asked.get("DEM_REQUIRED_GPUS") == ("1" if pod.name in with_gpu["gke"] else None)


def test_spot_machines_are_for_all_jobs_but_the_chief_of_the_search() -> None:
    spot = {pod.name for pod in pods_of("gke+spot") if "gke-spot" in json.dumps(pod.spec)}
    assert spot == {*JOBS, "tune-workers"}


def test_training_has_shared_memory() -> None:
    for pod in pods_of("gke"):
        shared = [one for one in pod.spec["volumes"] if one.get("emptyDir", {}).get("medium")]
        assert bool(shared) == (pod.name in ("train", "tune-workers"))


def test_settings_of_the_bucket_overlay_are_in_one_place() -> None:
    """Whoever changes the bucket and the project there has changed them everywhere."""
    base = [*(ROOT / "k8s" / "base").rglob("*.yaml"), *(ROOT / "k8s" / "overlays").rglob("*.yaml")]
    base += (ROOT / "k8s" / "components").rglob("*.yaml")
    naming = {path for path in base if re.search("my-(project|bucket)", path.read_text())}
    assert naming == {ROOT / "k8s" / "overlays" / "gke" / "settings" / "kustomization.yaml"}


def test_multi_host_has_one_number_of_hosts() -> None:
    train = of_kind(rendered("gke+multi-host"), "Job")["train"]["spec"]
    (container,) = train["template"]["spec"]["containers"]
    variables = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert train["completionMode"] == "Indexed"
    assert train["completions"] == train["parallelism"] == int(variables["DEM_WORKERS"])
    (port,) = container["ports"]
    subdomain = train["template"]["spec"]["subdomain"]
    expected = f"train-$(RUN)-{{index}}.train-$(RUN):{port['containerPort']}"
    assert variables["DEM_WORKER_ADDRESS"] == expected
    service = of_kind(rendered("gke+multi-host"), "Service")["train"]
    assert service["metadata"]["name"] == subdomain == "train-first"
    assert service["spec"]["clusterIP"] == "None"


def test_features_have_one_number_of_shares() -> None:
    features = of_kind(rendered("gke/features"), "Job")["features"]["spec"]
    (container,) = features["template"]["spec"]["containers"]
    variables = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert features["completionMode"] == "Indexed"
    assert features["completions"] == int(variables["DEM_SHARD_COUNT"])
    assert features["parallelism"] <= features["completions"]
    assert features["backoffLimit"] == 6 * features["completions"]


def test_the_mounted_bucket_is_the_one_of_the_settings() -> None:
    manifests = rendered("gke+gcsfuse")
    (locations,) = [
        one["data"]
        for name, one in of_kind(manifests, "ConfigMap").items()
        if name.startswith("locations-")
    ]
    for pod in templates(manifests):
        (bucket,) = [one["csi"] for one in pod.spec["volumes"] if one["name"] == "bucket"]
        assert f"gs://{bucket['volumeAttributes']['bucketName']}" == locations["ROOT"]
        (features,) = [one for one in pod.container["env"] if one["name"] == "FEATURES"]
        assert features["value"] == locations["FEATURES"].replace(locations["ROOT"], "/bucket")


def test_queued_jobs_name_a_queue_and_leave_their_start_to_it() -> None:
    manifests = rendered("gke/train+kueue")
    (queue,) = of_kind(manifests, "LocalQueue").values()
    assert queue["spec"]["clusterQueue"] in of_kind(manifests, "ClusterQueue")
    (train,) = of_kind(manifests, "Job").values()
    label = train["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
    assert label == queue["metadata"]["name"]
    assert train["spec"]["suspend"] is True


def test_changed_settings_give_the_config_map_a_new_name(tmp_path: Path) -> None:
    for directory in ("k8s", "configs"):
        shutil.copytree(ROOT / directory, tmp_path / directory)
    overlay = tmp_path / "k8s" / "overlays" / "gke"
    before = render(overlay)
    config = tmp_path / "configs" / "demo.yaml"
    config.write_text(config.read_text().replace("epochs: 20", "epochs: 21"))
    after = render(overlay)
    old, new = (set(of_kind(one, "ConfigMap")) for one in (before, after))
    assert len(old - new) == len(new - old) == 1
    (name,) = new - old
    assert name.startswith("configs-")
    for job in of_kind(after, "Job").values():
        assert name in json.dumps(job)


@pytest.mark.parametrize("name", OVERLAYS)
def test_chief_and_workers_of_a_search_have_the_token_of_one_secret(name: str) -> None:
    """The Secret itself is made by hand: no manifest, and so no repository, contains it."""
    assert not of_kind(rendered(name), "Secret")
    sources = {
        pod.name: entry["valueFrom"]["secretKeyRef"]
        for pod in pods_of(name)
        for entry in pod.container.get("env", [])
        if entry["name"] == "DEM_SEARCH_TOKEN"
    }
    token = {"name": "search-token", "key": "token"}
    assert sources == {"tune-chief": token, "tune-workers": token}


def test_a_job_set_restarts_all_hosts_unless_the_settings_are_bad() -> None:
    manifests = rendered("gke/train+multi-host+jobset")
    assert not of_kind(manifests, "Job")
    (job_set,) = of_kind(manifests, "JobSet").values()
    (job,) = jobs_of(job_set)
    assert job_set["metadata"]["name"] == "train-first"
    assert job["spec"]["backoffLimit"] == 0  # the first lost host ends the Job
    policy = job["spec"]["podFailurePolicy"]
    assert [action_for(policy, code, disrupted=True) for code in (2, 3, 137, 143)] == [
        *("FailJob", "Count", "Count", "Count")
    ]
    assert job_set["spec"]["failurePolicy"]["rules"] == [
        {
            "name": "BadInput",
            "action": "FailJobSet",
            "onJobFailureReasons": ["PodFailurePolicy", "DeadlineExceeded"],
        }
    ]
    variables = {one["name"]: one.get("value") for one in Template(job).container["env"]}
    hosts = job_set["spec"]["replicatedJobs"][0]["name"]
    expected = f"train-$(RUN)-{hosts}-0-{{index}}.train-$(RUN):2222"  # JobSet-hosts-0 is the Job
    assert variables["DEM_WORKER_ADDRESS"] == expected


def test_a_job_set_in_a_queue_is_started_by_it() -> None:
    manifests = rendered("gke/train+a3-highgpu-8g+multi-host+jobset+kueue")
    (job_set,) = of_kind(manifests, "JobSet").values()
    assert job_set["spec"]["suspend"] is True
    assert job_set["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "deep-embedded-music"


def test_machines_of_eight_gpus_are_used_whole_or_by_workers_of_one() -> None:
    pods = {pod.name: pod for pod in pods_of("gke+a3-highgpu-8g")}
    gpus = {
        name: pods[name].container["resources"]["limits"]["nvidia.com/gpu"]
        for name in ("train", "tune-workers")
    }
    assert gpus == {"train": "8", "tune-workers": "1"}
    for name, count in gpus.items():
        variables = {one["name"]: one.get("value") for one in pods[name].container["env"]}
        assert variables["DEM_REQUIRED_GPUS"] == count
        assert pods[name].spec["nodeSelector"]["cloud.google.com/gke-accelerator"] == (
            "nvidia-h100-80gb"
        )
    train = pods["train"]
    mounts = {mount["mountPath"]: mount["name"] for mount in train.container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in train.spec["volumes"]}
    variables = {one["name"]: one.get("value") for one in train.container["env"]}
    assert volumes[mounts[variables["DEM_CACHE_DIR"]]]["emptyDir"] == {"sizeLimit": "3Ti"}
    assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
    workers = of_kind(rendered("gke+a3-highgpu-8g"), "Job")["tune-workers"]["spec"]
    assert workers["completions"] == workers["parallelism"] == 8


def test_flex_start_machines_are_for_the_jobs_with_gpus() -> None:
    flexible = {
        pod.name for pod in pods_of("gke+flex-start") if "gke-flex-start" in json.dumps(pod.spec)
    }
    assert flexible == {"train", "tune-workers"}
    jobs = of_kind(rendered("gke+flex-start"), "Job")
    weeks = {job for job, one in jobs.items() if one["spec"]["activeDeadlineSeconds"] > 7 * 86400}
    assert weeks == flexible | {"tune-chief"}  # which waits for the workers
