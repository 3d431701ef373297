"""MLflow's pages without its parts for language models, of which a search has nothing.

MLflow has no setting for this. The parts are found by what MLflow 3.17 calls them; another version may show them again.
"""

from typing import Any

APP = "raysl"  # the entry point of `app` for `mlflow server --app-name`
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
    """Return the application of MLflow's server, whose pages hide those parts."""
    from mlflow.server import app as pages
    from mlflow.server.fastapi_app import app as served

    @pages.after_request
    def of_training(response: Any) -> Any:
        if response.mimetype == "text/html":
            response.direct_passthrough = False  # it is a file
            added = f"<style>{STYLE}</style><script>{SCRIPT}</script></head>"
            response.set_data(response.get_data(as_text=True).replace("</head>", added, 1))
        return response

    return served
