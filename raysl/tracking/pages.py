"""MLflow's pages without its parts for language models, which searches do not use.

MLflow has no setting for this. The parts are found by what MLflow 3.17 calls them; another version may show them again.
"""

import os
from pathlib import Path
from typing import Any

APP = "raysl"  # the entry point of `app` for `mlflow server --app-name`
NAME_PATH, NAME_VARIABLE = "/raysl-server", "RAYSL_SERVER_NAME"  # where a server says which one it is
# The switch between language models and training, the list of traces, and the assistant with its button.
STYLE = """
aside div:has(> [role=button] ~ [role=button]), a[href*="/traces"], [data-assistant-ui] {display: none !important}
"""
# At the first visit the assistant opens by itself, over a quarter of the page.
SCRIPT = """
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true")
localStorage.setItem("mlflow.assistant.panelOpen_v1", "false")
"""


def app() -> Any:
    """Return the application of MLflow's server, whose one page hides those parts, and which tells its name."""
    from mlflow.server import app as pages
    from mlflow.server.fastapi_app import app as served

    def index() -> str:
        text = Path(pages.static_folder or "", "index.html").read_text(encoding="utf-8")
        return text.replace("</head>", f"<style>{STYLE}</style><script>{SCRIPT}</script></head>", 1)

    pages.view_functions["serve"] = index  # not the file itself, which a browser may have kept from MLflow alone
    pages.add_url_rule(NAME_PATH, "raysl_server", lambda: os.environ.get(NAME_VARIABLE, ""))
    return served
