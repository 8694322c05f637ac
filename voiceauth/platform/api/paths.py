"""Which paths are the API's: there an error is JSON, elsewhere a page."""

API_PATHS = ("/api/", "/healthz", "/readyz")
