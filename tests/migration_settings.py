"""The service's settings with django-migration-linter, for ``make lint``: it is no part of the service."""

from voiceauth.settings import *  # noqa: F403
from voiceauth.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "django_migration_linter"]
MIGRATION_LINTER_OPTIONS = {
    "exclude_apps": ["axes", "admin", "auth", "contenttypes", "sessions"],  # not ours
    "ignore_name_contains": "0001_initial",  # nothing runs on the tables before them
}
