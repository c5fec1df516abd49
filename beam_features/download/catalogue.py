"""What can be downloaded: archives, checksums, licences. Sources are in docs/download.md."""

from dataclasses import dataclass

_ZENODO = "https://zenodo.org/records/{record}/files/{name}"
_FMA = "https://os.unil.cloud.switch.ch/fma/"


@dataclass(frozen=True)
class Archive:
    """A zip file on a public server."""

    name: str
    url: str
    size_bytes: int
    """As published, which is rounded: for the estimate, not for verification."""
    checksum: str | None
    """``algorithm:hex`` as published, or None if none is published."""


@dataclass(frozen=True)
class Dataset:
    """The archives of a dataset, and what they hold once unpacked."""

    name: str
    archives: tuple[Archive, ...]
    roots: tuple[str, ...]
    """Top-level directories of the archives; anything else in them is skipped."""
    required: tuple[tuple[str, int], ...]
    """Glob patterns, and the least number of files that must match each."""
    unpacked_bytes: int
    licence: str
    adapter: str
    """The layout's name for ``python -m beam_features --dataset``."""
    input: str
    """Directory for ``--input``, relative to the output."""


_DEV_AUDIO_MD5 = (
    "ae81259fa58b4ed11babd52386cb035a",
    "88f2fa5306f76d6b4c4c82ce63798dc4",
    "6fe16ce76abf801aa64662b06eecdacf",
    "29892d9d444db700283058ea032ed18e",
    "05aad2d1c80bf4b73d8c23ade155e9df",
    "aa9bad6f4b877e5c4c74aa26f9e31c32",
    "b87d1fb20da8ce1f45d50c56bf35c560",
    "d214fe45d50a18a18ebe7051956b872b",
    "668631009d2b3bcf872bdd3d780446c6",
    "195c2d2a810c5c4bf6523541a8536a58",
    "1c92328c0fad3f9eb4a114bac89e8b19",
    "b651887afa7558bcbd79267fc40ea6c6",
    "f05a08f5c85633210be81c5ad5da3ef0",
    "5c97b4ed12c167bf27bf3320fc3e665d",
    "78370c4047caedfbc002b9d010ae4172",
    "635747f2a89eb4fee971c53585bbac93",
    "a166c76ef8af1eef1e2c1b193de127a6",
    "ed326b2f5e8bb65553cea738a1a42250",
    "429874b969a345e176136f2da6c6ec13",
    "b5779fdfb14194c3823f981f573f4784",
    "684874d4882945145642be946dc10f39",
    "6d1767a8ef6e3c5978f86a5b372641b6",
    "4b727a3aca0b6b1456df46dd6196ae97",
)
_EVAL_AUDIO_MD5 = (
    "0df319839c6ca49e1183a6bdda878105",
    "c4128c29b2ec7ca3a0a640160cea45e9",
    "367add49b9dad7e4823d12ff17f248ac",
    "aa2a74ff766bba3c45775e73f686bf9c",
    "845637aa439da622ef5529b1f081c235",
    "23dc7375c17f504f602bd293891a0812",
    "391845ae00c20f94d8c2e03d5016cff5",
    "98c9421e99c241e1d96baaffaa7f9848",
    "ffc5be57c89ca1a8480b2124ab650126",
    "0c619203edc5054c397a53680c401206",
    "5e30ccf28f3b314eceb852926530d183",
    "b12c244e646f70b9318feaba1b62bf18",
    "7f04c5471e102a261671122173bb3faa",
    "4e1d4800d106e1167d5a746f8581fbee",
    "810e1bf859931063c4dce8eb3d80de18",
    "2d858a337a090bf64b69ed6c8a1ffa41",
    "e0541f41cf615951c94fba9aef302eac",
    "418348dd851a320bc003f7c11ca7d17f",
    "b9ef08ba8a09f4ca056d3a3545a1a00b",
    "6c75d2bdb778fc54f1a902300a56e969",
    "ccc5de1cac56a1f3835772aa5fd7613d",
    "ece9169ada4f46cf4e7969dc6cdcc52c",
    "9fda3aa8df12b57a57b0142fd5642a44",
)


_SINS_LICENCE = (
    "free for non-commercial use, under the end user licence agreement in its "
    "EULA.pdf; please cite Dekkers et al., DCASE 2018 (arXiv 1807.11246)"
)
_SINS_FILES = 72_984  # of 10 s, 16 kHz, 4 channels, 16 bit
_SINS_BYTES = _SINS_FILES * 10 * 16_000 * 4 * 2

_ESC50 = Dataset(
    name="esc50",
    archives=(
        Archive(
            "ESC-50-master.zip",
            "https://github.com/karolpiczak/ESC-50/archive/master.zip",
            size_bytes=600_000_000,
            checksum=None,  # GitHub packs it on demand; the bytes may change
        ),
    ),
    roots=("ESC-50-master",),
    required=(("ESC-50-master/audio/*.wav", 2000), ("ESC-50-master/meta/esc50.csv", 1)),
    unpacked_bytes=2000 * 5 * 44_100 * 2,
    licence="CC BY-NC 3.0 as a whole, its subset ESC-10 CC BY 3.0; ESC-50-master/LICENSE credits "
    "each clip; please cite Piczak, ACM Multimedia 2015 (doi:10.1145/2733373.2806390)",
    adapter="esc50",
    input="ESC-50-master",
)


def _dcase(
    name: str,
    record: int,
    release: str,
    documents: tuple[tuple[str, int, str], ...],
    audio_md5: tuple[str, ...],
    last_audio_bytes: int,
    lists: tuple[tuple[str, int], ...] = (),
) -> Dataset:
    """A set of DCASE 2018 task 5 on Zenodo: documents, then parts of 2 GB of audio but the last."""
    sizes = [2_000_000_000] * (len(audio_md5) - 1) + [last_audio_bytes]
    audio = [
        (f"audio.{number}", *part)
        for number, part in enumerate(zip(sizes, audio_md5, strict=True), start=1)
    ]
    return Dataset(
        name=name,
        archives=tuple(
            Archive(file, _ZENODO.format(record=record, name=file), size_bytes, f"md5:{md5}")
            for part, size_bytes, md5 in (*documents, *audio)
            for file in [f"{release}.{part}.zip"]
        ),
        roots=(release,),
        required=tuple(
            (f"{release}/{pattern}", least)
            for pattern, least in (("meta.txt", 1), *lists, ("audio/*.wav", 1))
        ),
        unpacked_bytes=_SINS_BYTES,
        licence=_SINS_LICENCE,
        adapter="dcase2018-task5",
        input=release,
    )


_DCASE_DEV = _dcase(
    "dcase2018-task5",
    1247102,
    "DCASE2018-task5-dev",
    (
        ("doc", 62_900, "4517a2560820af5da20e65e4a15a2d90"),
        ("meta", 984_000, "8fd269986c168db5562e7509e6dc033a"),
    ),
    _DEV_AUDIO_MD5,
    1_800_000_000,
    lists=(("evaluation_setup/fold*.txt", 4),),
)
_DCASE_EVAL = _dcase(
    "dcase2018-task5-eval",
    1964758,
    "DCASE2018-task5-eval",
    (
        ("doc", 61_735, "46bb9533c4ac74f65a959fa4c963d25f"),
        ("meta", 1_137_185, "5256ade2443e80dc11ae8e816edaf664"),
    ),
    _EVAL_AUDIO_MD5,
    1_331_540_000,
)

_FMA_SMALL = Dataset(
    name="fma-small",
    archives=(
        Archive(
            "fma_metadata.zip",
            _FMA + "fma_metadata.zip",
            size_bytes=342 * 2**20,
            checksum="sha1:f0df49ffe5f2a6008d7dc83c6915b31835dfe733",
        ),
        Archive(
            "fma_small.zip",
            _FMA + "fma_small.zip",
            size_bytes=round(7.2 * 2**30),
            checksum="sha1:ade154f733639d52e35e32f5593efe5be76c6d70",
        ),
    ),
    roots=("fma_metadata", "fma_small"),
    required=(("fma_metadata/tracks.csv", 1), ("fma_small/*/*.mp3", 1)),
    unpacked_bytes=342 * 2**20 + round(7.2 * 2**30),  # at least: MP3 hardly shrinks, tables do
    licence="metadata CC BY 4.0, each track under the licence its artist chose, for research "
    "purposes; please cite Defferrard et al., ISMIR 2017 (arXiv 1612.01840)",
    adapter="fma",
    input="",
)

DATASETS = {dataset.name: dataset for dataset in (_ESC50, _DCASE_DEV, _DCASE_EVAL, _FMA_SMALL)}
