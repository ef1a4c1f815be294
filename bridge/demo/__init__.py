"""What ``flowbridge demo`` runs: the sample business app Desk, a sample LTI tool, their content."""
