"""Published protocols: who is judged, on what, and how counts become a paper's number; and any model's answers under them.

    a data file  --fitting-->  faces that a protocol judges
    files of answers  --foreign, matching, reading-->  cases: a face, what is known of it, what was said
    cases  --measuring, scoring-->  `Scored`: metrics.json and predictions.jsonl  --compared-->  paired differences

To add one: a `Protocol` in `known.py`, with its source; `fea test`, `fea score` and `fea data folds` find it there.
"""
