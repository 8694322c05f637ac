"""The steps of a sign-in, and a person's own second factor. They stand beside the admin's pages."""

from django.urls import path

from voiceauth.review.sign_in import views

urlpatterns = [
    path("sign-in/provider/", views.to_provider, name="sign-in-provider"),
    path("sign-in/provider/answer/", views.from_provider, name="sign-in-provider-answer"),
    path("second-factor/code/", views.code, name="sign-in-code"),
    path("second-factor/set-up/", views.set_up, name="sign-in-set-up"),
    path("second-factor/", views.show, name="second-factor"),
    path("second-factor/recovery-codes/", views.renew, name="second-factor-renew"),
    path("second-factor/remove/", views.remove, name="second-factor-remove"),
]
