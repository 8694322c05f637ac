"""The steps after the password, and a person's own second factor."""

from django.urls import path

from voiceauth.review.sign_in import views

urlpatterns = [
    path("code/", views.code, name="sign-in-code"),
    path("set-up/", views.set_up, name="sign-in-set-up"),
    path("", views.show, name="second-factor"),
    path("recovery-codes/", views.renew, name="second-factor-renew"),
    path("remove/", views.remove, name="second-factor-remove"),
]
