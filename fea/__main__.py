"""`python -m fea` is the same program as `fea`."""

from fea.cli import main

raise SystemExit(main())
