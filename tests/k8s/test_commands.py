"""Every container's command line and settings, given to the programs that will get them."""

import pytest
from tensorboard import default, program

from beam_features.__main__ import build_parser as build_features_parser
from beam_features.job.options import beam_options
from dem.settings import load_settings
from similarity.commands.index import build_parser as build_index_parser
from tests.k8s.containers import INDEX_FIELD, command_line, environment
from tests.k8s.manifests import RENDERINGS, Template, needs_kubectl, of_kind, rendered, templates
from tests.processes import ROOT
from trainer.classify.__main__ import parse_arguments as parse_classify
from trainer.config import TrainConfig
from trainer.embed.__main__ import parse_arguments as parse_embed
from trainer.report.__main__ import parse_arguments as parse_report
from trainer.train.__main__ import parse_arguments as parse_train
from trainer.train.tf_config import tf_config_of_indexed_job
from tuning.__main__ import parse_arguments as parse_tune
from tuning.config import TuneConfig
from tuning.space import read_space
from tuning.workers.role import Role, read_role

pytestmark = needs_kubectl
DIRECTORIES = ("--output", "--data", "--job-dir", "--logdir", "--model", "VECTORS")


def variables_of(pod: Template, name: str) -> dict[str, str]:
    fields = {"status.podIP": "10.0.0.1"}
    if pod.owner["spec"].get("completionMode") == "Indexed":
        fields[INDEX_FIELD] = "1"
    return environment(pod.container, of_kind(rendered(name), "ConfigMap"), fields)


def words_of(pod: Template, name: str) -> list[str]:
    words = command_line(pod.container, variables_of(pod, name))
    assert not [word for word in words if "$" in word], words
    return words


def read_config(pod: Template, name: str, path: str) -> str:
    """Read a file of a mounted ConfigMap."""
    directory, _, file = path.rpartition("/")
    (mount,) = [one for one in pod.container["volumeMounts"] if one["mountPath"] == directory]
    (volume,) = [one for one in pod.spec["volumes"] if one["name"] == mount["name"]]
    config_map = of_kind(rendered(name), "ConfigMap")[volume["configMap"]["name"]]
    return str(config_map["data"][file])


@pytest.mark.parametrize("name", RENDERINGS)
def test_the_programs_accept_their_arguments_and_settings(name: str) -> None:
    for pod in templates(rendered(name)):
        python, option, module, *arguments = words_of(pod, name)
        assert (python, option) == ("python", "-m")

        def read(path: str, pod: Template = pod) -> str:
            return read_config(pod, name, path)

        if module == "beam_features":
            _, beam_arguments = build_features_parser("dem").parse_known_args(arguments)
            beam_options(beam_arguments)
        elif module == "trainer.train":
            parsed = parse_train(arguments)
            load_settings(TrainConfig, parsed.config, parsed.set, read)
        elif module == "trainer.classify":
            assert parse_classify(arguments).encoder == "trained"
        elif module == "trainer.embed":
            assert parse_embed(arguments).input is None
        elif module == "similarity.commands.index":
            assert build_index_parser("dem index").parse_args(arguments).input is None
        elif module == "trainer.report":
            parse_report(arguments)
        elif module == "tuning":
            parsed = parse_tune(arguments)
            read_space(load_settings(TuneConfig, parsed.config, parsed.set, read).space)
        else:
            assert module == "tensorboard.main"
            board = program.TensorBoard(default.get_plugins())
            board.configure([module, *arguments])
            assert board.flags.load_fast == "false"


def data_flow(name: str) -> dict[str, dict[str, str]]:
    """Directories that each program is given, by option."""
    flow = {}
    for pod in templates(rendered(name)):
        _python, _m, _module, *arguments = words_of(pod, name)
        given = [one if one.startswith("-") else f"VECTORS={one}" for one in arguments]
        options = [word.partition("=") for word in given]
        flow[pod.name] = {option: value for option, _, value in options if option in DIRECTORIES}
    return flow


@pytest.mark.parametrize(("name", "root"), [("local", "/data"), ("gke", "gs://my-bucket")])
def test_each_stage_reads_what_an_earlier_one_writes(name: str, root: str) -> None:
    features, run = f"{root}/features", f"{root}/runs/first"
    job, search, vectors = (f"{run}/{directory}" for directory in ("job", "search", "vectors"))
    assert data_flow(name) == {
        "features": {"--output": features},
        "train": {"--data": features, "--job-dir": job},
        "classify": {"--data": features, "--job-dir": job},
        "embed": {"--model": job, "--data": features, "--output": vectors},
        "index": {"VECTORS": vectors, "--output": f"{run}/index"},
        "report": {"--data": features, "--job-dir": job},
        "tune-chief": {"--data": features, "--job-dir": search},
        "tune-workers": {"--data": features, "--job-dir": search},
        "tensorboard": {"--logdir": f"{root}/runs"},
    }


def test_a_mounted_bucket_is_used_by_path() -> None:
    for pod in templates(rendered("gke+gcsfuse")):
        assert "gs://" not in " ".join(words_of(pod, "gke+gcsfuse"))


@pytest.mark.parametrize(
    ("job", "role"),
    [
        ("tune-chief", Role("chief", "10.0.0.1:8000", "chief", "search-token/token")),
        (
            "tune-workers",
            Role("worker", "tune-chief-first:8000", "worker-1", "search-token/token"),
        ),
        ("train", Role()),
    ],
)
def test_members_of_the_search_know_their_roles(
    monkeypatch: pytest.MonkeyPatch, job: str, role: Role
) -> None:
    pod = Template(of_kind(rendered("gke"), "Job")[job])
    for variable, value in variables_of(pod, "gke").items():
        monkeypatch.setenv(variable, value)
    assert read_role() == role


def test_hosts_of_one_training_find_each_other() -> None:
    name = "gke+multi-host"
    pod = Template(of_kind(rendered(name), "Job")["train"])
    value = tf_config_of_indexed_job(variables_of(pod, name))
    assert value is not None
    assert '["train-first-0.train-first:2222", "train-first-1.train-first:2222"]' in value
    alone = Template(of_kind(rendered("gke"), "Job")["tune-workers"])
    assert tf_config_of_indexed_job(variables_of(alone, "gke")) is None


def test_every_file_of_settings_is_in_the_config_map() -> None:
    (configs,) = [
        one["data"]
        for name, one in of_kind(rendered("gke"), "ConfigMap").items()
        if name.startswith("configs-")
    ]
    files = (ROOT / "configs").glob("*.yaml")
    assert configs == {path.name: path.read_text() for path in files}
