"""The web server's configuration, read by gunicorn: two processes with eight threads each, and private logs."""

from django.conf import settings

from voiceauth.launcher.parts import bind_address

bind = bind_address()
wsgi_app = "voiceauth.wsgi:application"
worker_class = "gthread"
workers = 2
threads = 8
timeout = 60
keepalive = 30
graceful_timeout = 8
control_socket_disable = True
logconfig_dict = settings.LOGGING
