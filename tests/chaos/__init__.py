"""The chaos run: everything breaks while statements are forwarded, and at the end each one is accounted for.

``python -m tests.chaos [RUN]`` does it with 20,000 statements, ``test_chaos.py`` with a few. Real processes of the real
commands, and database and broker of the run's own, so that nobody else's are restarted.
"""
