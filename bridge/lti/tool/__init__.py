"""The tool role: an LMS launches the bridge, which shows the person their help and tells the LMS what was done."""
