"""A browser for the pages of the dashboard."""

from tests.support.browser import browser, complaints, page

__all__ = ["browser", "complaints", "page"]
