"""LTI 1.3 and Advantage: keys, registrations, messages, tokens, assignments and grades.

The platform role is ours: a business app's click becomes a launch of a content tool, the tool's score an outcome.
"""
