"""``/try`` and its buttons."""

from django.urls import path

from voiceauth.review.trial import views

urlpatterns = [
    path("", views.show, name="try"),
    path("/agree", views.agree, name="try-agree"),
    path("/enroll", views.enroll, name="try-enroll"),
    path("/verify", views.verify, name="try-verify"),
    path("/forget", views.forget, name="try-forget"),
]
