"""Paths of erasures."""

from django.urls import path

from voiceauth.platform.erasure import apis

urlpatterns = [
    path("erasures", apis.ErasureList.as_view(), name="erasures"),
    path("erasures/<uuid:erasure_id>", apis.ErasureDetail.as_view(), name="erasure"),
]
