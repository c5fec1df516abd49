from pathlib import Path

from tests.images.buildah import Image
from tests.images.container import Container, run_script

CONFIG = {
    "Env": ["PATH=/opt/venv/bin:/usr/bin", "HOME=/tmp"],
    "User": "10001:10001",
    "WorkingDir": "/tmp",
    "Labels": {"a": "b"},
}


def test_a_command_gets_the_user_the_directory_and_the_environment_of_its_image() -> None:
    container = Container(Image.of_config("it", CONFIG), Path("/made/root"), Path("/made/volume"))
    script = run_script(container, ("python", "-c", "print('a b')"), {"N": "1 2"})
    last = script.splitlines()[-1]
    assert "--userspec=10001:10001 --groups= /made/root env -i -C /tmp PATH=/opt/venv" in last
    assert last.endswith("""HOME=/tmp 'N=1 2' python -c 'print('"'"'a b'"'"')'""")
    assert "mount -o remount,ro,bind /made/root\n" in script


def test_what_an_image_leaves_open() -> None:
    image = Image.of_config("it", {})
    assert image == Image("it", (), "", "/", (), {})
