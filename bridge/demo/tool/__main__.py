"""``python -m bridge.demo.tool --port 8012 --issuer http://127.0.0.1:8000``."""

import typer

from bridge.demo.tool.app import main

typer.run(main)
