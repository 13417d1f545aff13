"""One ruler: what an answer is worth, and what many are. It knows no trainer and no model."""
