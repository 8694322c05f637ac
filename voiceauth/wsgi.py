"""The web server's entry point."""

import os

from django.core.wsgi import get_wsgi_application

from voiceauth.platform import logs

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voiceauth.settings")

application = get_wsgi_application()
logs.log_uncaught()
