"""An example of every key, for the reference: each model's examples make one valid setting together."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from raysl.config.table_file import DifferenceSettings, FileSettings, Part, ReportSettings, Scale, TableSettings
from raysl.data.settings import DataSettings, OnePixel
from raysl.models.settings import ModelSettings, StartWeights
from raysl.probes.settings import KNN, Clustering, LinearSVM, ProbesSettings
from raysl.search.cross_fit import CrossFit
from raysl.search.experiment import ExperimentSettings, Resources
from raysl.search.settings import RaceSettings, SearchSettings
from raysl.search.stage_settings import TrainedStage
from raysl.search.vote import Vote
from raysl.training.settings import (
    LARS,
    SGD,
    Adam,
    AdamW,
    Asha,
    Constant,
    Cosine,
    Exponential,
    MedianRule,
    PartialCosine,
    Poly,
)

STAGE: Mapping[str, Any] = {
    "data": {"labels": "all"},
    "method": {"name": "simsiam", "projector": 512},
    "epochs": 100,
    "batch_size": 256,
    "unlabelled_ratio": 7,
    "steps_per_epoch": 200,
    "optimizer": {"name": "sgd", "lr": 0.03},
    "schedule": {"name": "cosine"},
    "precision": "bf16",
    "start_from": "pretrain",
    "start_epoch": 50,
    "milestones": [25, 50],
    "freeze": "backbone",
    "probe": "knn",
    "select": "probe_accuracy",
    "ties": "cheapest",
    "criteria": ["rankme", "ami"],
    "search": {"algorithm": "random", "num_configs": 20},
    "stop": {"scheduler": "asha"},
}
PART: Mapping[str, Any] = {
    "title": "SimCLR",
    "experiment": "../simclr.yaml",
    "stage": "linear",
    "data": "cifar10",
    "set": {"data.labels": 0.05},
    "value": "probe",
}
ROWS = {"simclr": {"title": "SimCLR", "experiment": "../simclr.yaml", "stage": "linear"}}
COLUMNS = {"cifar10": {"title": "CIFAR-10", "data": "cifar10"}}
TABLE: Mapping[str, Any] = {
    "rows": ROWS,
    "columns": COLUMNS,
    "published": {"simclr": {"cifar10": [86.14, 0.2]}},
    "differences": [{"title": "gain", "column": "cifar10", "less": "stl10"}],
}
EXAMPLES: Mapping[type[BaseModel], Mapping[str, Any]] = {
    ExperimentSettings: {
        "name": "flowers",
        "data": {"source": "folder:images/flowers", "image_size": 64},
        "model": {"backbone": "resnet18", "stem": "stl10"},
        "seeds": {"labels": 4, "init": 3},
        "design": "nested",
        "streams": {"order": 0},
        "resources": {"gpus": 0.5},
        "probes": {"linear_svm": {"scale": "none"}},
        "stages": {"pretrain": {"method": {"name": "vicreg"}, "epochs": 30}},
    },
    DataSettings: {
        "source": "folder:images/flowers",
        "image_size": 64,
        "channels": 3,
        "train_fraction": 0.8,
        "labels": 500,
        "draw": "uniform",
        "unlabelled": 10_000,
        "attack": {"name": "one_pixel"},
    },
    OnePixel: {"name": "one_pixel", "value": "per_class", "seed": 1, "probe": "attacked"},
    ModelSettings: {
        "backbone": "resnet18",
        "stem": "cifar",
        "features": 256,
        "hidden": 512,
        "norm_momentum": 0.01,
        "norm_eps": 0.001,
        "weights": "file:encoder.safetensors",
    },
    StartWeights: {
        "source": "file:encoder.safetensors",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "digest": "0c6d3b8f21f4a9e75d1b7a0e9f3c2846",
    },
    Resources: {"workers": 2, "cpus": 4, "gpus": 1, "checkpoint_seconds": 120},
    ProbesSettings: {"linear_svm": {"C": 0.1}, "knn": {"k": 20}, "clustering": {"restarts": 5}},
    LinearSVM: {"C": 0.1, "folds": 10, "scale": "none"},
    KNN: {"k": 20, "temperature": 0.07, "folds": 10},
    Clustering: {"restarts": 20},
    TrainedStage: STAGE,
    SGD: {"name": "sgd", "lr": 0.05, "momentum": 0.95, "weight_decay": 0.0005, "nesterov": True},
    Adam: {"name": "adam", "lr": 0.001, "beta1": 0.8, "beta2": 0.99, "weight_decay": 0.0001},
    AdamW: {"name": "adamw", "lr": 0.001, "beta1": 0.8, "beta2": 0.99, "weight_decay": 0.05},
    LARS: {"name": "lars", "lr": 0.3, "momentum": 0.95, "weight_decay": 0.000001, "trust": 0.02},
    Constant: {"name": "constant"},
    Cosine: {"name": "cosine", "warmup": 10},
    PartialCosine: {"name": "partial_cosine", "share": 0.4375},
    Poly: {"name": "poly", "power": 0.9},
    Exponential: {"name": "exponential", "hold": 0.1, "rate": 0.05},
    SearchSettings: {
        "algorithm": "optuna",
        "num_configs": 20,
        "seed": 1,
        "sampler": {"name": "TPESampler", "n_startup_trials": 5},
        "objectives": ["probe_accuracy", "seconds"],
        "extend": True,
        "race": {"error": 0.01},
    },
    RaceSettings: {"error": 0.01, "first": 3},
    Vote: {"vote": ["rankme", "lidar", "ami"]},
    CrossFit: {"cross_fit": 4},
    Asha: {"scheduler": "asha", "grace": 5, "reduction": 2},
    MedianRule: {"scheduler": "median", "grace": 10, "min_peers": 5},
    FileSettings: {
        "name": "trimix_table1",
        "source": "Bdair et al. 2022, Table I",
        "profiles": {"laptop": {"cifar10": {"profile": "laptop"}}},
        "tables": {"table1": {"title": "Accuracy", "rows": ROWS, "columns": COLUMNS}},
        "class_reports": {
            "table1/simclr/cifar10": {
                "title": "SimCLR", "accuracy": 0.86, "classes": {"cat": [0.8, 0.7, 0.75], "dog": [0.9, 0.8, 0.85]}
            }
        },
    },
    TableSettings: {**PART, **TABLE},
    Part: PART,
    Scale: {"profile": "laptop", "set": {"seeds": 3}},
    DifferenceSettings: {"title": "gain", "column": "attacked", "less": "clean"},
    ReportSettings: {
        "title": "SimCLR", "accuracy": 0.86, "classes": {"cat": [0.8, 0.7, 0.75], "dog": [0.9, 0.8, 0.85]}
    },
}  # fmt: skip
