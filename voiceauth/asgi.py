"""The web server's entry point: Django, behind what receives requests for it."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voiceauth.settings")

django = get_wsgi_application()

from voiceauth.platform.api.front import Front  # noqa: E402  it needs Django's settings
from voiceauth.verification.streams.endpoint import Streams  # noqa: E402

application = Front(django, websockets=Streams())
