"""Ray Tune schedules the trials, Ray Train runs each one.  The only package that imports ray."""

import os

# Ray reads some of these when it is imported, so they are set before any module here imports it.
# Variables that the user has set stay as they are.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else every worker process starts through `uv run`
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints even at verbosity 0
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_prestart_worker_first_driver": "0",  # else a process per CPU starts, and no trial takes one
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # raysl resumes from its result rows, not from Tune's state
    "OMP_WAIT_POLICY": "PASSIVE",
    # A trial trains in a thread. glibc keeps freed large blocks for it (`training.malloc`) only if all threads share
    # the main thread's pool. Read when a process starts.
    "MALLOC_ARENA_MAX": "1",
}

for _name, _value in ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
