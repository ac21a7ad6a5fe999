"""A node that does not see the data is found before the first worker starts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
from PIL import Image
from ray.cluster_utils import Cluster

from strsweep.cluster.connection import check_data_on_nodes
from strsweep.config import Experiment, load_experiment
from strsweep.errors import SettingError

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore"),  # Ray's own, in this process
]

DIGITS = Path(__file__).parents[2] / "jobs/configs/digits.yaml"


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[None]:
    """Two nodes on this machine; every Ray process of a node has another working directory."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    yield
    ray.shutdown()
    cluster.shutdown()


def folders(root: Path, images: int) -> Path:
    for split in ("train", "val"):
        for kind in ("cat", "dog"):
            folder = root / split / kind
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(images):
                pixels = np.full((9, 9, 3), number, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


def experiment(path: Path | str) -> Experiment:
    return load_experiment(DIGITS, [f"data={{name: imagefolder, path: {path}, image_size: 8}}"])


def test_data_that_every_node_sees_passes(two_nodes: None, tmp_path: Path) -> None:
    check_data_on_nodes(experiment(folders(tmp_path, 3)))
    check_data_on_nodes(load_experiment(DIGITS))


def test_a_node_without_the_data_is_named(
    two_nodes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders(tmp_path / "data", 3)
    monkeypatch.chdir(tmp_path)
    # This path leads into the working directory of whoever opens it.
    with pytest.raises(SettingError, match=r"data\.path: .* On node .*: There is no such folder"):
        check_data_on_nodes(experiment("/proc/self/cwd/data"))


def test_a_half_copied_folder_is_named(
    two_nodes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @ray.remote(num_cpus=0)
    def working_directory() -> str:
        return str(Path.cwd())

    theirs = Path(ray.get(working_directory.remote()))
    folders(theirs / tmp_path.name, 2)
    folders(tmp_path / tmp_path.name, 3)
    monkeypatch.chdir(tmp_path)
    try:
        with pytest.raises(SettingError, match=r"It has 4 training and 4 .* this job 6 training"):
            check_data_on_nodes(experiment(f"/proc/self/cwd/{tmp_path.name}"))
    finally:
        shutil.rmtree(theirs / tmp_path.name)  # Ray's workers stand where the tests were started
