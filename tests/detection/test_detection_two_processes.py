"""Two processes with batches of one image search as one process with batches of two."""

import multiprocessing
import os
import socket

import pytest
import torch
from drawn_coco import draw_coco, share_boxes, without_chance, write_config

pytest.importorskip("mmdet")
from mmengine.dataset import pseudo_collate

from compress.detection import DetectorSpace
from compress.detection.data import CocoData, DetectionData
from compress.detection.run import load_config
from compress.detection.task import DetectionTask
from compress.engine.searching import search
from compress.engine.settings import SearchConfig
from compress.engine.training import Job

PIPELINE = """
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="RandomFlip", prob=1.0, direction="horizontal"),
    dict(type="PackDetInputs"),
]
train_dataloader["dataset"]["pipeline"] = train_pipeline
"""


class Silent:
    """A progress display that shows nothing."""

    def __getattr__(self, name):
        return lambda *args: None


@pytest.fixture(scope="module")
def parts(space, randomised, tmp_path_factory):
    """Data, space and network in which every image has equally many samples."""
    folder = tmp_path_factory.mktemp("equal")
    root = draw_coco(folder / "coco", {"train2017": 8, "val2017": 1}, sizes=[(96, 128)])
    share_boxes(root, "train2017")
    config = load_config(str(write_config(folder / "twin.py", root, PIPELINE)))
    own = DetectorSpace(num_classes=80, model=without_chance(space.model))
    return CocoData(config, DetectionData(input_size=(128, 128))), own, randomised(own)


def scores_of(parts, folder, batch_size, launcher="none"):
    data, space, network = parts
    sgd = {"type": "SGD", "lr": 1e-3, "momentum": 0.9}
    config = SearchConfig(
        epochs=1, batch_size=batch_size, optimizer=sgd, alpha_optimizer=sgd, method={"type": "rarts", "order": "fused"}
    )
    job = Job(folder, folder / "metrics.jsonl", "search", 0, Silent(), launcher=launcher)
    return search(network, space, DetectionTask(data), config, job, evaluate=lambda network: {}).scores


def process(parts, folder, rank, port):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ["LOCAL_RANK"] = str(rank)
    torch.distributed.init_process_group("gloo")
    torch.save(scores_of(parts, folder / "run", 1, "pytorch"), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_scores_are_those_of_one_process_with_twice_the_batch(parts, tmp_path):
    """MMDetection divides losses by the numbers of samples in a process's own batch, so that in general the mean over
    processes is not the loss of the common batch. Here it is: all images have the same boxes (on other pixels), every
    anchor and proposal is a sample, and only the annotated boxes are positives.
    """
    data, _, network = parts
    task = DetectionTask(data)
    images = [data.train[i] for i in range(2)]
    assert not torch.equal(images[0]["inputs"], images[1]["inputs"])
    with torch.no_grad():
        whole = float(task.loss(network.train(), pseudo_collate(images)))
        single = [float(task.loss(network, pseudo_collate([image]))) for image in images]
    assert whole == pytest.approx(sum(single) / 2, rel=1e-6)
    assert single[0] != pytest.approx(single[1], rel=1e-4)

    # Spawned: autograd does not work in a fork once its threads run, which other tests may have started.
    context, port = multiprocessing.get_context("spawn"), free_port()
    processes = [context.Process(target=process, args=(parts, tmp_path, rank, port)) for rank in (0, 1)]
    for one in processes:
        one.start()
    try:
        for one in processes:
            one.join(timeout=300)
    finally:
        for one in processes:
            one.kill()  # if one waits for the other, which failed
    assert [one.exitcode for one in processes] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    alone = scores_of(parts, tmp_path / "alone", 2)
    assert alone.keys() == first.keys()
    for name, score in alone.items():
        assert torch.equal(first[name], second[name]), "both processes hold the same scores"
        moved = float((score - 1).abs().max())
        assert moved > 0
        assert float((first[name] - score).abs().max()) <= 1e-3 * moved + 1e-7
