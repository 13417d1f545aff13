"""Stage 3: the policy writes analyses, and what passes the checks is kept."""
