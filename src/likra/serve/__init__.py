"""Answers over HTTP: likra behind models on one base, many clients and firm limits.

Needs the extra `serve` (FastAPI, uvicorn, prometheus-client).
"""

from likra.serve.app import create_app
from likra.serve.limits import Limits, check_key
from likra.serve.models import Models, base_alone
from likra.serve.server import bind, serve

__all__ = ["Limits", "Models", "base_alone", "bind", "check_key", "create_app", "serve"]
