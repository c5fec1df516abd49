"""TensorBoard behind Identity-Aware Proxy: nobody reaches it past the proxy."""

import json

import pytest
from kubernetes_validate import validate

from tests.k8s.manifests import Template, needs_kubectl, of_kind, rendered

pytestmark = needs_kubectl
NAME = "gke/iap"
KUBERNETES = (
    "Service",
    "Ingress",
    "NetworkPolicy",
)  # the others are of GKE and have no schema there


@pytest.mark.parametrize("kind", KUBERNETES)
def test_objects_have_the_strict_schema(kind: str) -> None:
    (manifest,) = of_kind(rendered(NAME), kind).values()
    assert validate(manifest, "1.36", strict=True) == "1.36"


def test_all_traffic_goes_through_the_proxy() -> None:
    manifests = rendered(NAME)
    (service,) = of_kind(manifests, "Service").values()
    (backend,) = of_kind(manifests, "BackendConfig").values()
    (ingress,) = of_kind(manifests, "Ingress").values()
    named = json.loads(service["metadata"]["annotations"]["cloud.google.com/backend-config"])
    assert named == {"default": backend["metadata"]["name"]}
    assert backend["spec"]["iap"] == {"enabled": True}
    (route,) = ingress["spec"].values()
    assert route["service"] == {"name": service["metadata"]["name"], "port": {"name": "http"}}
    annotations = ingress["metadata"]["annotations"]
    assert annotations["kubernetes.io/ingress.allow-http"] == "false"
    (certificate,) = of_kind(manifests, "ManagedCertificate").values()
    assert annotations["networking.gke.io/managed-certificates"] == certificate["metadata"]["name"]


def test_it_leads_to_tensorboard_and_is_no_object_of_the_overlay() -> None:
    manifests = rendered(NAME)
    board = Template(of_kind(rendered("gke"), "Deployment")["tensorboard"])
    (service,) = of_kind(manifests, "Service").values()
    (policy,) = of_kind(manifests, "NetworkPolicy").values()
    (backend,) = of_kind(manifests, "BackendConfig").values()
    for selector in (service["spec"]["selector"], policy["spec"]["podSelector"]["matchLabels"]):
        assert selector.items() <= board.labels.items()
    (port,) = board.container["ports"]
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    (rule,) = policy["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": port["containerPort"]}]
    assert [set(peer) for peer in rule["from"]] == [{"ipBlock"}, {"ipBlock"}]
    probe = board.container["readinessProbe"]["httpGet"]["path"]
    check = backend["spec"]["healthCheck"]
    assert (check["requestPath"], check["port"]) == (probe, port["containerPort"])
    ours = {(one["kind"], one["metadata"]["name"]) for one in rendered("gke")}
    assert not ours & {(one["kind"], one["metadata"]["name"]) for one in manifests}
    assert {one["metadata"]["namespace"] for one in manifests} == {"deep-embedded-music"}
