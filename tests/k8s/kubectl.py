"""A stand-in for kubectl: the real one renders, and a file is the cluster.

Run as a program. `KUBECTL` is the real one, `KUBECTL_STATE` the file: all objects by kind and name.
A Job whose Pods would change is refused, as is a Job that does not exist.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from tests.k8s.admission import refusals, refused_changes
from tests.k8s.manifests import Manifest

Objects = dict[str, Manifest]


def main(words: list[str]) -> None:
    file = Path(os.environ["KUBECTL_STATE"])
    objects: Objects = json.loads(file.read_text())
    match [word for word in words if word not in ("-n", "deep-embedded-music")]:
        case ["kustomize", directory]:
            print(render(directory))
        case ["apply", "-k", directory]:
            apply(objects, render(directory))
        case ["apply", "-f", "-"]:
            apply(objects, sys.stdin.read())
        case ["delete", "-k", directory]:
            for manifest in yaml.safe_load_all(render(directory)):
                objects.pop(key_of(manifest), None)
        case ["delete", kinds, "-l", label]:
            delete(objects, kinds.split(","), *label.split("="))
        case ["create", "secret", "generic", name, "--from-literal", literal]:
            key, _, value = literal.partition("=")
            if f"Secret/{name}" in objects or "Namespace/deep-embedded-music" not in objects:
                raise SystemExit(f"error: secret {name} exists, or there is no namespace")
            metadata = {"name": name}
            secret = {"kind": "Secret", "metadata": metadata, "stringData": {key: value}}
            objects[f"Secret/{name}"] = secret
        case ["get", "jobs", "-L", label]:
            for manifest in objects.values():
                if manifest["kind"] == "Job":
                    metadata = manifest["metadata"]
                    print(metadata["name"], metadata["labels"].get(label, ""))
        case ["logs", "--follow", name] | ["port-forward", name, "6006"]:
            kind, _, name = name.partition("/")
            if f"{kind.capitalize()}/{name}" not in objects:
                raise SystemExit(f"error: there is no {kind} {name}")
        case _:
            raise SystemExit(f"error: the stand-in does not know {words}")
    file.write_text(json.dumps(objects))


def render(directory: str) -> str:
    """Call the real kubectl."""
    return subprocess.run(
        [os.environ["KUBECTL"], "kustomize", directory],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def key_of(manifest: Manifest) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def apply(objects: Objects, text: str) -> None:
    for manifest in yaml.safe_load_all(text):
        key = key_of(manifest)
        known = objects.get(key, manifest)
        if manifest["kind"] == "Job" and (fields := refused_changes(known, manifest)):
            raise SystemExit(f"{key}: spec.{fields[0]}: Invalid value: field is immutable")
        if refused := refusals(manifest):
            raise SystemExit(f"{key}: {refused}")
        objects[key] = manifest


def delete(objects: Objects, kinds: list[str], label: str, value: str) -> None:
    for key, manifest in list(objects.items()):
        labels = manifest["metadata"].get("labels", {})
        if manifest["kind"].lower() in kinds and labels.get(label) == value:
            del objects[key]


if __name__ == "__main__":
    main(sys.argv[1:])
