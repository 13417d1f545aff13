"""Pages of this machine alone.

To add one: make a Flask app with its routes and its files below `static/`, pass it through `server.guarded`, and hand it to
`server.serve` with the socket of `server.listen`, which the command opens before it reads anything. The guard sees to the rest:
no other machine, nobody without the token of the printed address, no page of another origin, no copies in the browser, and
errors as JSON.
"""
