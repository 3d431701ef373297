"""What `cluster/README.md` says is there, and costs what it says."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator

import botocore.session
import pytest
from botocore.validate import ParamValidator
from cluster_files import CLUSTER, ROOT, documents
from cluster_schemas import option_faults, options
from cluster_scripts import SBATCH

TEXT = (CLUSTER / "README.md").read_text()
RAY = {"job", "up", "down", "exec", "attach", "dashboard", "rsync-up", "status", "get-auth-token", "symmetric-run"}
RAY |= {"start", "drain-node", "list"}


def _commands() -> Iterator[str]:
    yield from (line.strip() for line in TEXT.replace("\\\n", " ").splitlines() if line.startswith("    "))
    yield from re.findall(r"`([^`\n]+)`", TEXT)


def _faults(command: str) -> Iterator[str]:
    """Yield what a command of Ray's or ours does not know; in one of Ray's there may be one of ours."""
    outer, _, inner = command.partition("raysl tune ")
    for match in re.finditer(r"(?:^|(?<=['\s]))(ray|raysl) ([a-z-]+)", command):
        known = RAY if match[1] == "ray" else {"tune", "show", "plan"}
        if match[2] not in known:
            yield f"no command {match[0]}"
    if re.match(r"ray [a-z]", outer):
        yield from option_faults("ray start", options(outer))  # reads those of all of Ray's commands
    yield from option_faults("raysl tune", options(inner))


def test_commands_are_there() -> None:
    commands = [command for command in _commands() if re.search(r"\b(ray|raysl) [a-z]", command)]
    assert len(commands) > 15
    assert [fault for command in commands for fault in _faults(command)] == []


def test_options_are_there() -> None:
    named = [option for code in re.findall(r"`(--[^`\n]+)`", TEXT) for option in options(code)]
    assert {"max-concurrent", "results", "tracking"} <= set(named)
    known = SBATCH | {"stop"}  # Slurm's, and `ray exec`'s
    assert list(option_faults("raysl tune", [option for option in named if option not in known])) == []


@pytest.mark.parametrize(
    "command",
    [
        "ray uup --yes cluster/aws.yaml",
        "ray up --yess cluster/aws.yaml",
        "ray exec cluster/aws.yaml --tmux 'cd raysl && raysl tune FILE --adress auto'",
        "raysl tun FILE",
    ],
)
def test_slip_in_a_command_is_found(command: str) -> None:
    assert list(_faults(command)) != []


def test_files_are_there() -> None:
    text = re.sub(r"\(https://[^)]*\)", "", TEXT)  # without links
    named = set(re.findall(r"\b(?:cluster|search_spaces)/[\w./-]*\w", text))
    assert len(named) >= 7
    assert [path for path in named if path != "cluster/kuberay/.env" and not (ROOT / path).exists()] == []


def test_search_in_the_readme_is_that_of_the_ray_job() -> None:
    (job,) = documents((CLUSTER / "kuberay/rayjob.yaml").read_text())
    entrypoint = job["spec"]["entrypoint"].replace("/home/ray/raysl/", "")
    assert entrypoint.replace("bash cluster/kuberay/search.sh", "raysl tune") in TEXT


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml", "kuberay/raycluster.yaml"])
def test_costs_are_those_of_the_labels(name: str) -> None:
    (config,) = documents((CLUSTER / name).read_text())
    if "spec" in config:
        spec = config["spec"]
        head = float(spec["headGroupSpec"]["labels"]["usd-per-hour"])
        workers = [(float(g["labels"]["usd-per-hour"]), g["maxReplicas"]) for g in spec["workerGroupSpecs"]]
    else:
        types = config["available_node_types"]
        head = float(types.pop("head")["labels"]["usd-per-hour"])
        workers = [(float(t["labels"]["usd-per-hour"]), t["max_workers"]) for t in types.values()]
    row = next(
        line
        for line in TEXT.splitlines()
        if line.startswith(f"| `{name.removesuffix('raycluster.yaml')}`") and "." in line[-7:]
    )
    dear = sum(price * number for price, number in workers)
    assert re.findall(r"\d+\.\d\d", row) == [f"{cost:.2f}" for cost in (head, head + 4 * workers[0][0], head + dear)]


def _sections() -> dict[str, list[str]]:
    """Return the commands of each section, by its title."""
    parts = [part.partition("\n") for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)]
    return {title: [line for line in text.splitlines() if line.startswith("    ")] for title, _, text in parts}


def test_results_are_deleted_in_their_own_section_after_a_check() -> None:
    deletes = re.compile(r"\baws s3 (rb|rm)\b|\bgcloud storage (rm|buckets delete)\b|\bgsutil\b.* r[bm]\b")
    found = {
        title: lines for title, all_of_it in _sections().items() if (lines := list(filter(deletes.search, all_of_it)))
    }
    assert list(found) == ["Delete the results"]
    assert len(found["Delete the results"]) == 2
    for line in found["Delete the results"]:
        assert re.search(r'read -r .* name && test "\$name" = BUCKET && (aws|gcloud) ', line)


@pytest.mark.parametrize(("typed", "deleted"), [("BUCKET", True), ("BUCKE", False), ("", False), ("y", False)])
def test_nothing_is_deleted_unless_the_name_is_typed(typed: str, deleted: bool) -> None:
    for line in _sections()["Delete the results"]:
        if "read -r" in line:
            script = "aws() { echo deleted; }; gcloud() { echo deleted; };" + line
            done = subprocess.run(
                ["bash", "-c", script], input=f"{typed}\n", capture_output=True, text=True, check=False
            )
            assert ("deleted" in done.stdout) == deleted


def test_budget_is_one_that_aws_takes() -> None:
    [command] = [line for line in TEXT.replace("\\\n", " ").splitlines() if "aws budgets create-budget" in line]
    words = shlex.split(command)
    given = {word: words[place + 1] for place, word in enumerate(words) if word.startswith("--")}
    model = botocore.session.get_session().get_service_model("budgets").operation_model("CreateBudget").input_shape
    request = {
        "AccountId": given["--account-id"].replace("ACCOUNT", "123456789012"),
        "Budget": json.loads(given["--budget"]),
        "NotificationsWithSubscribers": json.loads(given["--notifications-with-subscribers"]),
    }
    assert not ParamValidator().validate(request, model).has_errors()
    kinds = [each["Notification"]["Threshold"] for each in request["NotificationsWithSubscribers"]]
    assert kinds == [50, 100]


def test_readme_says_what_was_not_tried() -> None:
    assert "not been run in a cloud" in " ".join(TEXT.split())
