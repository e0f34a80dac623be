"""Answers over HTTP: likra behind one model, many clients and firm limits.

Needs the extra `serve` (FastAPI, uvicorn, prometheus-client).
"""

from likra.serve.app import create_app
from likra.serve.limits import Limits, check_key
from likra.serve.server import bind, serve

__all__ = ["Limits", "bind", "check_key", "create_app", "serve"]
