"""The platform role: a business app's click becomes a launch of a content tool, the tool's score an outcome."""
