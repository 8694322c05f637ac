"""The web server's entry point: Django, behind what receives requests for it."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voiceauth.settings")

django = get_wsgi_application()

from django.conf import settings  # noqa: E402
from django.urls import get_resolver  # noqa: E402

from voiceauth.platform import memory  # noqa: E402
from voiceauth.platform.api.front import Front  # noqa: E402  it needs Django's settings
from voiceauth.platform.api.leaving import Leaving  # noqa: E402
from voiceauth.verification.streams.endpoint import Streams  # noqa: E402

streams = Streams()
application = Leaving(Front(django, websockets=streams), seconds=settings.VOICEAUTH_DRAIN_SECONDS, last=streams.cut_off)
_ = get_resolver().url_patterns  # loads every view now, and not in the first request
memory.settle()
