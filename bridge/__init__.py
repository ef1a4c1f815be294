"""flowbridge brings the learning that lives in an LMS to the moment of work."""
