"""A stand-in for gcloud: it knows the arguments of some commands, and a project in a JSON file.

Run as a program. `GCLOUD_STATE` names the file; each call is added to its list `calls`. Commands,
options and values that are not in `COMMANDS` are refused with 2, as by gcloud; what the project
lacks, such as an API that is off or an account that does not exist, is refused with 1.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

State = dict[str, Any]
Options = dict[str, str]
GLOBAL = ("--project", "--format", "--flatten")
ROLES = frozenset(
    f"roles/{role}"
    for role in (
        "artifactregistry.reader",
        "artifactregistry.writer",
        "container.defaultNodeServiceAccount",
        "containeranalysis.admin",
        "iap.httpsResourceAccessor",
        "logging.logWriter",
        "ondemandscanning.admin",
        "storage.admin",
        "storage.legacyBucketReader",
        "storage.objectUser",
        "storage.objectViewer",
    )
)
BUILD_ROLES = ("artifactregistry.writer", "containeranalysis.admin", "logging.logWriter",
               "ondemandscanning.admin", "storage.admin")  # fmt: skip
BUILD_APIS = ("artifactregistry", "containeranalysis", "containerscanning", "ondemandscanning")
POLICY_FORMAT = "value(bindings.role,bindings.members)"


class RefusedError(Exception):
    """The project does not allow the call."""


def new_state(project: str) -> State:
    """A project with a billing account, a quota of GPUs, and nothing else."""
    return {
        "project": project,
        "number": "123456789",
        "account": "me@example.com",
        "billing": "True",
        "quotas": {"CPUS": 24, "NVIDIA_L4_GPUS": 1},
        "apis": [],
        "buckets": [],
        "repositories": [],
        "accounts": [],
        "clusters": {},
        "policies": {},
        "images": [],
        "hesitant": 0,  # roles of a new account are refused so many times
        "calls": [],
    }


class Command(NamedTuple):
    """Arguments of a command: numbers of names, options with a value, and those without."""

    run: Callable[[State, list[str], Options], str | None]
    api: str | None = None
    names: tuple[int, int] = (1, 1)
    options: tuple[str, ...] = ()
    switches: tuple[str, ...] = ()
    required: tuple[str, ...] = ()


def lines(values: list[str]) -> str:
    return "\n".join(values)


def add(kind: str) -> Callable[[State, list[str], Options], None]:
    def run(state: State, names: list[str], _options: Options) -> None:
        (name,) = names
        name = name.removeprefix("gs://")
        if kind == "accounts":
            name = f"{name}@{state['project']}.iam.gserviceaccount.com"
        if name in state[kind]:
            raise RefusedError(f"{name} already exists")
        state[kind].append(name)
        if kind == "accounts":
            state["hesitant"] = 2

    return run


def remove(kind: str) -> Callable[[State, list[str], Options], None]:
    def run(state: State, names: list[str], _options: Options) -> None:
        for name in names:
            must_exist(state, kind, name.removeprefix("gs://"))
            del state[kind][list(state[kind]).index(name.removeprefix("gs://"))]

    return run


def listing(kind: str, form: str) -> Callable[[State, list[str], Options], str]:
    def run(state: State, _names: list[str], options: Options) -> str:
        must_be_format(options, form)
        return lines(list(state[kind]))

    return run


def must_be_format(options: Options, *known: str) -> None:
    if options.get("--format") not in known:
        raise RefusedError(f"the stand-in knows the formats {known}, not {options.get('--format')}")


def must_exist(state: State, kind: str, name: str) -> None:
    if name not in state[kind]:
        raise RefusedError(f"{name} was not found in {kind}")


def enable(state: State, names: list[str], _options: Options) -> None:
    for name in names:
        if not name.endswith(".googleapis.com"):
            raise RefusedError(f"there is no API {name}")
        state["apis"].append(name)


def describe_project(state: State, names: list[str], options: Options) -> str:
    if names != [state["project"]]:
        raise RefusedError(f"no permission on the project {names}")
    must_be_format(options, "value(projectNumber)")
    return str(state["number"])


def describe_region(state: State, _names: list[str], options: Options) -> str:
    must_be_format(options, "value(quotas.metric,quotas.limit)")
    return lines([f"{name}\t{limit:.1f}" for name, limit in state["quotas"].items()])


def create_cluster(state: State, names: list[str], options: Options) -> None:
    (name,) = names
    if name in state["clusters"]:
        raise RefusedError(f"{name} already exists")
    must_exist(state, "accounts", options["--service-account"])
    pool = f"{state['project']}.svc.id.goog"
    state["clusters"][name] = {
        "workloadIdentityConfig.workloadPool": pool,
        "nodeConfig.serviceAccount": options["--service-account"],
    }


def describe_cluster(state: State, names: list[str], options: Options) -> str:
    (name,) = names
    must_exist(state, "clusters", name)
    cluster: dict[str, str] = state["clusters"][name]
    form = options["--format"]
    must_be_format(options, *(f"value({key})" for key in cluster))
    return cluster[form.removeprefix("value(").removesuffix(")")]


def delete_cluster(state: State, names: list[str], _options: Options) -> None:
    (name,) = names
    must_exist(state, "clusters", name)
    del state["clusters"][name]


def credentials(state: State, names: list[str], _options: Options) -> None:
    must_exist(state, "clusters", names[0])


def policy_of(kind: str) -> Callable[[State, list[str], Options], str]:
    def run(state: State, names: list[str], options: Options) -> str:
        resource = policed(state, kind, names)
        if options.get("--flatten") != "bindings[].members":
            raise RefusedError("the stand-in lists policies by member")
        must_be_format(options, POLICY_FORMAT)
        return lines(["\t".join(binding) for binding in state["policies"].get(resource, [])])

    return run


def bind(kind: str) -> Callable[[State, list[str], Options], None]:
    def run(state: State, names: list[str], options: Options) -> None:
        resource = policed(state, kind, names)
        member, role = options["--member"], options["--role"]
        if role not in ROLES:
            raise RefusedError(f"there is no role {role}")
        must_be_known(state, member)
        if options.get("--condition", "None") != "None":
            raise RefusedError("the stand-in knows no conditions")
        bindings = state["policies"].setdefault(resource, [])
        if [role, member] not in bindings:
            bindings.append([role, member])

    return run


def policed(state: State, kind: str, names: list[str]) -> str:
    (name,) = names
    if kind == "project":
        if name != state["project"]:
            raise RefusedError(f"no permission on the project {name}")
        return "project"
    must_exist(state, kind, name.removeprefix("gs://"))
    return f"{kind}/{name.removeprefix('gs://')}"


def must_be_known(state: State, member: str) -> None:
    kind, _, name = member.partition(":")
    pool = f"{state['project']}.svc.id.goog"
    identities = (
        f"//iam.googleapis.com/projects/{state['number']}/locations/global/workloadIdentityPools/"
        f"{pool}/subject/ns/deep-embedded-music/sa/"
    )
    pools = [each["workloadIdentityConfig.workloadPool"] for each in state["clusters"].values()]
    if kind == "principal" and name.startswith(identities) and pool in pools:
        return
    if kind == "user":
        return
    default = f"{state['number']}-compute@developer.gserviceaccount.com"
    if kind != "serviceAccount" or name not in [*state["accounts"], default]:
        raise RefusedError(f"{member} does not exist")
    if name != default and state["hesitant"]:
        state["hesitant"] -= 1
        raise RefusedError(f"{member} does not exist")


def submit(state: State, _names: list[str], options: Options) -> None:
    """Push both images, if the account of the build may do what cloudbuild.yaml does."""
    substitutions = dict(each.split("=") for each in options["--substitutions"].split(","))
    account = options["--service-account"].removeprefix(
        f"projects/{state['project']}/serviceAccounts/"
    )
    must_exist(state, "accounts", account)
    for api in BUILD_APIS:
        must_be_on(state, api)
    for role in BUILD_ROLES:
        if [f"roles/{role}", f"serviceAccount:{account}"] not in state["policies"]["project"]:
            raise RefusedError(f"{account} lacks {role}")
    must_exist(state, "repositories", "deep-embedded-music")
    host = f"{substitutions['_REGION']}-docker.pkg.dev/{state['project']}/deep-embedded-music"
    for target in ("features", "trainer"):
        state["images"].append(f"{host}/{target}:{substitutions['COMMIT_SHA']}")


def nothing(_state: State, _names: list[str], _options: Options) -> None:
    pass


LOCATION = ("--location",)
BINDING = ("--member", "--role", "--condition")
NEEDS = ("--member", "--role")
COMMANDS = {
    "auth login": Command(nothing, names=(0, 0)),
    "config set": Command(nothing, names=(2, 2)),
    "auth list": Command(
        lambda state, _, __: str(state["account"]), names=(0, 0), options=("--filter",)
    ),
    "projects describe": Command(describe_project),
    "projects get-iam-policy": Command(policy_of("project"), "cloudresourcemanager"),
    "projects add-iam-policy-binding": Command(
        bind("project"), "cloudresourcemanager", options=BINDING, required=NEEDS
    ),
    "billing projects describe": Command(lambda state, _, __: str(state["billing"])),
    "services list": Command(
        listing("apis", "value(config.name)"), names=(0, 0), switches=("--enabled",)
    ),
    "services enable": Command(enable, names=(1, 20)),
    "compute regions describe": Command(describe_region, "compute"),
    "compute addresses create": Command(nothing, "compute", switches=("--global",)),
    "compute addresses describe": Command(nothing, "compute", switches=("--global",)),
    "compute addresses delete": Command(nothing, "compute", switches=("--global",)),
    "iam service-accounts list": Command(listing("accounts", "value(email)"), "iam", names=(0, 0)),
    "iam service-accounts create": Command(add("accounts"), "iam", options=("--display-name",)),
    "iam service-accounts delete": Command(remove("accounts"), "iam"),
    "storage buckets list": Command(listing("buckets", "value(name)"), "storage", names=(0, 0)),
    "storage buckets create": Command(
        add("buckets"),
        "storage",
        options=LOCATION,
        switches=("--uniform-bucket-level-access", "--public-access-prevention"),
    ),
    "storage buckets get-iam-policy": Command(policy_of("buckets"), "storage"),
    "storage buckets add-iam-policy-binding": Command(
        bind("buckets"), "storage", options=BINDING, required=NEEDS
    ),
    "storage cp": Command(nothing, "storage", names=(2, 9), switches=("--recursive",)),
    "storage rm": Command(nothing, "storage", names=(1, 9), switches=("--recursive",)),
    "artifacts repositories list": Command(
        listing("repositories", "value(name.basename())"),
        "artifactregistry",
        names=(0, 0),
        options=LOCATION,
    ),
    "artifacts repositories create": Command(
        add("repositories"),
        "artifactregistry",
        options=("--location", "--repository-format"),
        required=("--location", "--repository-format"),
    ),
    "artifacts repositories delete": Command(
        remove("repositories"), "artifactregistry", options=LOCATION, required=LOCATION
    ),
    "artifacts repositories get-iam-policy": Command(
        policy_of("repositories"), "artifactregistry", options=LOCATION, required=LOCATION
    ),
    "artifacts repositories add-iam-policy-binding": Command(
        bind("repositories"),
        "artifactregistry",
        options=(*LOCATION, *BINDING),
        required=(*LOCATION, *NEEDS),
    ),
    "container clusters list": Command(
        listing("clusters", "value(name)"), "container", names=(0, 0), options=LOCATION
    ),
    "container clusters create-auto": Command(
        create_cluster,
        "container",
        options=(*LOCATION, "--service-account"),
        required=(*LOCATION, "--service-account"),
    ),
    "container clusters describe": Command(
        describe_cluster, "container", options=LOCATION, required=LOCATION
    ),
    "container clusters get-credentials": Command(
        credentials, "container", options=LOCATION, required=LOCATION
    ),
    "container clusters delete": Command(
        delete_cluster, "container", options=LOCATION, required=LOCATION
    ),
    "builds submit": Command(
        submit,
        "cloudbuild",
        names=(0, 0),
        options=("--region", "--service-account", "--substitutions"),
        required=("--region", "--service-account", "--substitutions"),
    ),
}


def must_be_on(state: State, api: str | None) -> None:
    if api and f"{api}.googleapis.com" not in state["apis"]:
        raise RefusedError(
            f"API [{api}.googleapis.com] not enabled on project [{state['project']}]"
        )


def find_command(words: list[str]) -> tuple[Command, list[str]]:
    for length in (4, 3, 2):
        if command := COMMANDS.get(" ".join(words[:length])):
            return command, words[length:]
    return refuse(f"Invalid choice: {' '.join(words)}")


def parse(command: Command, words: list[str]) -> tuple[list[str], Options]:
    """Split what follows a command into names and options."""
    names: list[str] = []
    options: Options = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        option, equals, value = word.partition("=")
        if word in command.switches:
            options[word] = "yes"
        elif option in (*command.options, *GLOBAL):
            if not equals and not rest:
                refuse(f"argument {option}: expected one argument")
            options[option] = value if equals else rest.pop(0)
        elif word.startswith("-"):
            refuse(f"unrecognized arguments: {word}")
        else:
            names.append(word)
    least, most = command.names
    if not least <= len(names) <= most:
        refuse(f"{len(names)} names, not {least} to {most}: {names}")
    if absent := [option for option in command.required if option not in options]:
        refuse(f"argument {absent[0]}: must be specified")
    if empty := [each for each, value in options.items() if not value]:
        refuse(f"argument {empty[0]}: is empty")
    return names, options


def refuse(message: str) -> NoReturn:
    print(f"ERROR: (gcloud) {message}", file=sys.stderr)
    raise SystemExit(2)


def main(words: list[str]) -> int:
    """Run one command on the project in the file."""
    with open(os.environ["GCLOUD_STATE"]) as file:
        state: State = json.load(file)
    state["calls"].append(words)
    code = 0
    command, rest = find_command(words)
    names, options = parse(command, rest)
    try:
        must_be_on(state, command.api)
        if told := command.run(state, names, options):
            print(told)
    except RefusedError as refusal:
        print(f"ERROR: (gcloud) {refusal}", file=sys.stderr)
        code = 1
    with open(os.environ["GCLOUD_STATE"], "w") as file:
        json.dump(state, file)
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
