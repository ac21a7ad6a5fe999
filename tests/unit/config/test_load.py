"""Files and overrides become experiments; what is wrong is named with its key, value and remedy."""

from __future__ import annotations

import json
import re
from itertools import chain
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError
from samples import DIGITS, load, refusal

from strsweep.config import Experiment, load_experiment
from strsweep.config.schema import Setting, settings_page
from strsweep.errors import InvalidExperimentError, SettingError
from strsweep.settings import Target

CONFIGS = DIGITS.parent
SHARED = "search={decay: shared"
"""The beginning of a search section."""


def file_refusal(path: Path) -> str:
    with pytest.raises(SettingError) as caught:
        load_experiment(path)
    assert caught.value.setting == "--config"
    assert str(path) in str(caught.value)
    return caught.value.remedy


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_of_the_jobs_loads(path: Path) -> None:
    experiment = load_experiment(path)
    assert Experiment.model_validate(experiment.model_dump(mode="json")) == experiment


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("search.targets=[0.5, 0.6]", (Target(sparsity=0.5), Target(sparsity=0.6))),
        ("search.targets=[]", ()),
        ("search.weight_decay=1e-3", 0.001),
        ("search.threshold_decay=[1e-5, 1E-3]", (1e-5, 1e-3)),
        ("search.threshold_decay=auto", "auto"),
        ("search.weight_decay=0", 0.0),
        ("search.max_concurrent=null", None),
        ("search.threshold_init=-100", -100.0),
        ("training.channels_last=true", True),
        ("sparsity.skip=[fc, 'block*']", ("fc", "block*")),
        ("workers.gpus=0.5", 0.5),
        ("model.options={width: 8}", {"width": 8}),
        ("model.options.width=8", {"width": 8}),
        ("data.path=/data/a=b", Path("/data/a=b")),
        ("tracking.uri=http://host:5000", "http://host:5000"),
    ],
)
def test_override_is_yaml(override: str, expected: object) -> None:
    section, key, *_ = override.partition("=")[0].split(".")
    value = getattr(getattr(load(override), section), key)
    assert value == expected


def test_later_override_wins() -> None:
    assert load("training.epochs=3", "training.epochs=4").training.epochs == 4


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
"""Three billion values."""


BROKEN = ("[0.9", "[" * 10_000)


@pytest.mark.parametrize(
    ("override", "remedy"),
    [
        *((text, "section.key=value") for text in ("training.epochs", "=3", "", "a..b=1", ".a=1")),
        *((text, "section.key=value") for text in ("training.=1", "tracking.a b=1", "a:b=1")),
        *((f"search.targets={text}", "not valid YAML") for text in BROKEN),
        ("training.epochs.more=3", "'epochs' is not a section"),
    ],
)
def test_malformed_override_is_refused(override: str, remedy: str) -> None:
    message = refusal(override)
    assert message.startswith(f"--set: got {override!r}.")
    assert remedy in message


def test_aliases_and_a_budget_of_a_thousand_layers_are_read(tmp_path: Path) -> None:
    budget = "".join(f"    layers.{number}.conv: 0.125\n" for number in range(1000))
    text = DIGITS.read_text() + f"sparsity:\n  mode: gmp\n  budget:\n{budget}"
    path = tmp_path / "a.yaml"
    path.write_text(text.replace("  epochs: 30", "  epochs: &n 30\n  seed: *n"))
    experiment = load_experiment(path, ["search.weight_decay=1e-4"])
    assert experiment.training.seed == 30
    assert len(experiment.sparsity.model_dump()["budget"]) == 1000


def test_a_file_without_end_is_refused() -> None:
    assert "more than 262,144 bytes" in file_refusal(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("override", "key", "value", "remedy"),
    [
        ("training.epoch=3", "training.epoch", "3", "Did you mean training.epochs?"),
        ("trainig.epochs=3", "trainig", "{'epochs': 3}", "Did you mean training?"),
        ("training.zzz=3", "training.zzz", "3", "training has: epochs, batch_size"),
        ("zzz=3", "zzz", "3", "the file has: name, model"),
        ("training.batch-size=3", "training.batch-size", "3", "Did you mean training.batch_size?"),
        ("training.epochs=ten", "training.epochs", "'ten'", "Passes over the training data."),
        ("training.epochs=true", "training.epochs", "True", "valid integer"),
        ("training.epochs=", "training.epochs", "None", "valid integer"),
        ("training.channels_last=1", "training.channels_last", "1", "valid boolean"),
        ("training.precision=half", "training.precision", "'half'", "'float16'"),
        ("training=3", "training", "3", "an object"),
        ("name=a b", "name", "'a b'", "letters, digits, - and _"),
        ("data.path=5", "data.path", "5", "Folder of the data"),
        ("search.targets=0.9", "search.targets", "0.9", "Wanted models"),
        ("search.targets=[null]", "search.targets", "None", "Wanted models"),
        ("search.targets=[[1]]", "search.targets", "[1]", "Wanted models"),
        ("search.targets=[0.9, x]", "search.targets", "'x'", "write 0.9 for 90 %"),
        ("search.targets=['95%']", "search.targets", "'95%'", "write 0.9 for 90 %"),
        ("search.targets=[{mac: 0.1}]", "search.targets.mac", "0.1", "mean search.targets.macs?"),
        ("search.resolved=[weight_decay]", "search.resolved", "['weight_decay']", "leave it out"),
        ("search.zzz=1", "search.zzz", "1", "max_concurrent."),
        ("sparsity.skip=fc", "sparsity.skip", "'fc'", "by name or shell pattern"),
        ("storage.endpoint=foo", "storage.endpoint", "'foo'", "http://HOST:PORT"),
        ("search.targets=[0.9, 1]", "search.targets", "1.0", "fraction in (0, 1)"),
        ("search.targets=[0.0]", "search.targets", "0.0", "fraction in (0, 1)"),
        ("search.targets=[90]", "search.targets", "90.0", "write 0.9 for 90 %"),
        ("search.targets=[{}]", "search.targets", "{}", "{macs: 0.05}, or {rank: 0.5}."),
        ("search.targets=[{sparsity: 0.9, macs: 1}]", "search.targets", "{'sp", "Name one: "),
        ("search.targets=[{sparsity: 0.9}, 0.9]", "search.targets", "[0.9, 0.9]", "target once"),
        ("search.targets=[{macs: 9}, {macs: 9}]", "search.targets", "[{'macs': 9.0}, ", "once"),
        ("search.weight_decay=[1e-3, 1e-5]", "search.weight_decay", "[0.001, 1e-05]", "empty"),
        ("search.weight_decay=[0.1, 0.1]", "search.weight_decay", "[0.1, 0.1]", "empty"),
        ("search.weight_decay=[1e-5, 1e-3]", "search.weight_decay", "[1e-05, 0.001]", "=shared to"),
        ("search.weight_decay=auto", "search.weight_decay", "'auto'", "search.decay=shared to"),
        ("search.weight_decay=[1, 2, 3]", "search.weight_decay", "[1, 2, 3]", "or a range"),
        ("search.decay=both", "search.decay", "'both'", "'own' or 'shared'"),
        (f"{SHARED}, threshold_decay: 0}}", "search.threshold_decay", "0.0", "leave it out"),
        (f"{SHARED}, weight_decay: [0, 1]}}", "search.weight_decay", "[0.0, 1.0]", "above 0"),
        (f"{SHARED}, weight_decay: [1, 1]}}", "search.weight_decay", "[1.0, 1.0]", "empty"),
        (f"{SHARED}, weight_decay: auto, baseline: true}}", "search.baseline", "True", "decay=own"),
        ("search.threshold_decay=[0, 1]", "search.threshold_decay", "[0.0, 1.0]", "above 0"),
        ("search.threshold_decay=[1, 0.1]", "search.threshold_decay", "[1.0, 0.1]", "empty"),
        ("search.threshold_decay=much", "search.threshold_decay", "'much'", "a range to search"),
        ("sparsity.epochs=3", "sparsity.epochs", "3", "Did you mean training.epochs?"),
        ("training.targets=[0.9]", "training.targets", "[0.9]", "Did you mean search.targets?"),
        ("targets=[0.9]", "targets", "[0.9]", "Did you mean search.targets?"),
        ("search.epochs=3", "search.epochs", "3", "mean search.max_epochs or training.epochs?"),
        ("search.decay=share", "search.decay", "'share'", "Did you mean 'shared'? Whether"),
        ("training.optimizer=SGD", "training.optimizer", "'SGD'", "Did you mean 'sgd'? Use one of"),
        ("sparsity.mode=sterred", "sparsity.mode", "'sterred'", "Did you mean 'steered'? Use one"),
        ("sparsity.preset=resnet50-90.2", "sparsity.preset", "'re", "mean 'resnet50-90.23'?"),
        ("search.tolerance=wide", "search.tolerance", "'wide'", "as far as that is harmless"),
        ("search.threshold_init=null", "search.threshold_init", "None", "a number, auto, or a"),
        ("search.threshold_init=[-5, -10]", "search.threshold_init", "[-5.0, -10.0]", "empty"),
        ("search.threshold_init=0", "search.threshold_init", "0.0", "must be negative"),
        ("search.threshold_init=[-5, 5]", "search.threshold_init", "[-5.0, 5.0]", "negative"),
        ("workers.count=3", "training.batch_size", "128", "multiple of workers.count (3)"),
        ("workers={count: 2, min_count: 3}", "workers.min_count", "3", "workers.count (2)"),
        ("training.warmup_epochs=30", "training.warmup_epochs", "30", "training.epochs (30)"),
        ("training.precision=float16", "training.precision", "'float16'", "set workers.gpus"),
    ],
)
def test_wrong_setting_is_named_with_value_and_remedy(
    override: str, key: str, value: str, remedy: str
) -> None:
    message = refusal(override)
    assert message.startswith(f"{key}: got {value}")
    assert remedy in message
    assert "\n" not in message, "one mistake is told once"


NUMBERS = [one for one in settings_page() if "number" in one.kind and "Method" not in one.meaning]
OUTSIDE = {"from": -1, "above": 0, "below": 0, "to": 1}
"""How far a number is from the end of a range to be no more in it."""


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.name)
def test_a_number_outside_of_its_range_is_refused(setting: Setting) -> None:
    ends = re.findall(r"(from|above|to|below) ([\d.]+)", setting.kind)
    outside = [f"{float(end) + OUTSIDE[word]:g}" for word, end in ends]
    lists = {"[number, number]": ("[1e-5, {}]", "[{}, 1e-5]"), "list of": ("[{}]",)}
    forms = ["{}", *chain(*(lists[kind] for kind in lists if kind in setting.kind))]
    infinite = [form.format(value) for form in forms for value in (".nan", ".inf", "-.inf")]
    for value in (*outside, *infinite):
        assert refusal(f"{setting.name}={value}").startswith(f"{setting.name}: got ")


@pytest.mark.parametrize("override", ["training.precision=float16", "workers.count=4"])
def test_the_neighbouring_right_setting_is_accepted(override: str) -> None:
    assert load(override, "workers.gpus=1").workers.gpus == 1


def test_several_mistakes_are_told_together_one_per_line() -> None:
    lines = refusal("training.epochs=ten", "data.nam=x", "search.max_runs=0").split("\n")
    keys = [line.split(":")[0] for line in lines]
    assert keys == ["data.nam", "training.epochs", "search.max_runs"]


def test_missing_settings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("name: a\nmodel: {name: digits_cnn}\nsearch: {weight_decay: 1e-4}\n")
    with pytest.raises(SettingError, match="Name a data set such as digits") as caught:
        load_experiment(path)
    assert caught.value.setting == "data.name"
    path.write_text("name: a\ndata: {name: digits}\nsearch: {weight_decay: 1e-4}\n")
    with pytest.raises(InvalidExperimentError, match=r"model: got None\. It must be set\."):
        load_experiment(path)


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (b"", "sections such as 'model:'"),
        (b"# nothing\n", "sections such as 'model:'"),
        (b"just text", "sections such as 'model:'"),
        (b"a: [", "not valid YAML"),
        (b"a: 1\na: 2\n", "duplicate key"),
        (b"a: 1\n---\nb: 2\n", "not valid YAML"),
        (b"\xff\xfe\x00\x80", "not text"),
        (b"\x00\x01\x02", "not valid YAML"),
        (b"name: !!python/object:os.system x", "not valid YAML"),
        (BOMB.encode(), "more than 20,000 values, aliases counted each time"),
        (b"a: &a [*a]", "more than 20,000 values, aliases counted each time"),
        (b"[" * 100_000, "or 20 levels"),
        (b"a: [" + b"1," * 30_000 + b"]", "more than 20,000 values"),
        (b"a: 1\n" * 100_000, "more than 262,144 bytes"),
    ],
)
def test_file_that_is_no_experiment_is_refused(tmp_path: Path, content: bytes, remedy: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    assert remedy in file_refusal(path)


def test_of_many_mistakes_the_first_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("".join(f"key{number}: 1\n" for number in range(9_000)))
    with pytest.raises(InvalidExperimentError) as refused:
        load_experiment(path)
    assert str(refused.value).count(": got ") == 20


@pytest.mark.parametrize("content", ["name: 2020-13-45\n", "model: {options: {2020-01-01: 3}}\n"])
def test_yaml_that_json_cannot_say_is_refused_as_a_wrong_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(content)
    with pytest.raises((SettingError, InvalidExperimentError)):
        load_experiment(path)


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    assert "No such file" in file_refusal(tmp_path / "a.yaml")
    assert "directory" in file_refusal(tmp_path)


@pytest.fixture
def uploaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder that looks like Ray's copy of an uploaded working directory."""
    copy = tmp_path / "_ray_pkg_0123456789abcdef"
    copy.mkdir()
    monkeypatch.chdir(copy)
    monkeypatch.delenv("STRSWEEP_RESULTS", raising=False)
    return copy


def test_results_in_an_uploaded_copy_are_refused(
    uploaded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refusal().startswith("storage.path: got None.")
    assert "STRSWEEP_RESULTS" in refusal()
    assert refusal("storage.path=/results").startswith("tracking.uri: got ")
    monkeypatch.setenv("STRSWEEP_RESULTS", "/results")
    assert load().storage.path == "/results"
    for setting in ("storage.path=results", "data.path=./a", f"storage.path={uploaded}"):
        key, _, value = setting.partition("=")
        assert refusal(setting).startswith(f"{key}: got {value!r}.")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_name", "a/b"),
        ("model_name", "it's"),
        ("model_name", "n" * 201),
        ("model_name", "two\nlines"),
        ("experiment", "a/../b"),
        ("experiment", "<script>"),
        ("experiment", " "),
    ],
)
def test_names_that_mlflow_cannot_have_are_refused(key: str, value: str) -> None:
    said = refusal(f"tracking.{key}={json.dumps(value)}")
    assert said.startswith(f"tracking.{key}: got ")
    assert "letters, digits" in said


@pytest.mark.parametrize("value", ["team/vision", "größe 2.0", "a-b_c.d"])
def test_other_names_are_taken(value: str) -> None:
    assert load(f"tracking.experiment={value}").tracking_experiment == value


def test_an_uploaded_checkpoint_makes_no_other_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = set()
    for upload in ("_ray_pkg_1", "_ray_pkg_2"):
        (tmp_path / upload).mkdir()
        monkeypatch.chdir(tmp_path / upload)
        places = ("storage.path=/r", "tracking.uri=sqlite:////r/m.db")
        for file in ("start.pth", "other.pth"):
            experiment = load(f"model.checkpoint={file}", *places)
            assert experiment.model.checkpoint == tmp_path / upload / file
            ids.add(experiment.sweep_id)
    assert len(ids) == 2


def test_experiment_is_frozen() -> None:
    experiment = load()
    sections = [value for _, value in experiment if isinstance(value, BaseModel)]
    assert len(sections) == 8
    for section in (experiment, *sections):
        for field in type(section).model_fields:
            with pytest.raises(ValidationError, match="frozen"):
                setattr(section, field, getattr(section, field))


def test_names_in_mlflow_default_to_the_experiment() -> None:
    assert (load().tracking_experiment, load().model_name) == ("digits", "digits")
    named = load("tracking.experiment=e", "tracking.model_name=m")
    assert (named.tracking_experiment, named.model_name) == ("e", "m")
