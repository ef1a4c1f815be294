"""The sample LTI tool: a short quiz that a business app can open, and that reports its score.

It is a program of its own, built on pylti1p3 as a vendor's tool would be, so that the demo crosses a real LTI border.
"""

from bridge.demo.tool.app import create_app, main

__all__ = ["create_app", "main"]
