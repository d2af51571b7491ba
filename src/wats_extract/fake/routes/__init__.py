"""The routes of the server, one file per domain. Each file lists its routes in `ROUTES`."""
