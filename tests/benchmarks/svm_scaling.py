"""Test accuracy of the linear SVM with and without scaling, for several C, over stages of Cavallari & Ponti 2022.

    uv run python tests/benchmarks/svm_scaling.py [--sets fashion_mnist malaria] [--searches supervised ...]
        [--seeds 2] [--unlabelled 1000]

Each search is that of its YAML under the profile SET_laptop (of digits, without a profile) at a learning rate of 1e-3,
with fewer unlabelled images. A row has means over the seeds: the features' mean norm, and for each C the accuracy in
per cent and the seconds of a fit with its test. `standard` is without a least deviation, `standard, 0.1` with a tenth
of the units' mean one.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from raysl.data.storage.decoded_cache import load_test
from raysl.probes import linear_svm
from raysl.probes.settings import LinearSVM
from raysl.results.records.rows import read_rows
from raysl.results.records.stages import read_selections, read_stages
from raysl.results.storage.store import Store
from raysl.training.building import trained_method
from raysl.training.features import extract_features
from raysl.training.input_pipeline import Feed
from raysl.training.spec import TrialSpec

SEARCHES = {
    "supervised": ["supervised"],
    "rotation_finetune": ["rotation", "finetune"],
    "rotation_semi": ["semi"],
    "barlow_twins": ["barlow_twins"],
}  # and the stages of each
COSTS = (0.1, 1.0, 10.0)
SCALES = {"none": None, "standard": 1e-9, "standard, 0.1": 0.1, "standard, 0.3": 0.3}  # LEAST_DEVIATION

Split = tuple[np.ndarray, np.ndarray]


def models(folder: str) -> Iterator[tuple[str, list[tuple[Split, Split]]]]:
    """Yield each selected config's name with its seeds' features and labels of D_l and of the test set."""
    store = Store.open(folder, create=False)
    selections = read_selections(store)
    for stage in read_stages(store):
        if selection := selections.get(stage.stage_id):
            rows = read_rows(store, selection.trial_ids)
            specs = [TrialSpec.model_validate_json(rows[trial_id].spec) for trial_id in selection.trial_ids]
            yield f"{stage.data['source']} {stage.experiment}/{stage.stage}", [features(spec, store) for spec in specs]


def features(spec: TrialSpec, store: Store) -> tuple[Split, Split]:
    """Return a trial's features and labels of D_l, and of the test set."""
    method = trained_method(spec, store)
    feed = Feed(spec, method.views(), torch.device("cpu"))
    images, labels = feed.labelled_images()
    test_images, test_labels = load_test(spec.data)
    train = extract_features(method.evaluation().encoder, images, feed.normalise), labels
    return train, (extract_features(method.evaluation().encoder, test_images, feed.normalise), test_labels)


def search(name: str, set_: str, folder: str, seeds: int, unlabelled: int) -> None:
    """Train a search's stages into a results folder."""
    settings = [f"seeds={seeds}", f"data.unlabelled={unlabelled}"]
    settings += [f"stages.{stage}.optimizer.lr=1e-3" for stage in SEARCHES[name]]
    command = [sys.executable, "-m", "raysl", "tune", f"search_spaces/{name}.yaml", "--backend", "inline"]
    command += ["--results", folder, *(word for setting in settings for word in ("--set", setting))]
    profile = [] if set_ == "digits" else ["--profile", f"{set_}_laptop"]
    subprocess.run([*command, *profile], check=True, stdout=subprocess.DEVNULL)


def table(folder: str) -> None:
    """Print the rows of each selected config."""
    for name, seeds in models(folder):
        norm = np.mean([np.linalg.norm(train[0], axis=1).mean() for train, _ in seeds])
        for scale, least in SCALES.items():
            if least is not None:
                linear_svm.LEAST_DEVIATION = least
            cells = []
            for c in COSTS:
                settings = LinearSVM(C=c, scale="none" if least is None else "standard")
                start = time.perf_counter()
                found = [100 * linear_svm.test_accuracy(*train, *test, settings) for train, test in seeds]
                cells.append(f"{np.mean(found):5.1f} ({(time.perf_counter() - start) / len(seeds):5.2f} s) ")
            print(f"{name:44} {norm:5.1f} {scale:14}", *cells, flush=True)


def main(arguments: Sequence[str]) -> None:
    """Search, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", nargs="+", default=["fashion_mnist", "malaria"])
    parser.add_argument("--searches", nargs="+", default=list(SEARCHES), choices=list(SEARCHES))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--unlabelled", type=int, default=1000)
    given = parser.parse_args(arguments)
    print(f"{'stage':44} norm  {'scale':14}", *(f"C={c:<13g}" for c in COSTS))
    for set_ in given.sets:
        with tempfile.TemporaryDirectory() as folder:
            for name in given.searches:
                search(name, set_, folder, given.seeds, given.unlabelled)
            table(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
