"""Paths of training runs and models."""

from django.urls import path

from voiceauth.retraining import apis

urlpatterns = [
    path("training-runs", apis.TrainingRunList.as_view(), name="training-runs"),
    path("training-runs/<uuid:run_id>", apis.TrainingRunDetail.as_view()),
    path("training-runs/<uuid:run_id>/cancel", apis.TrainingRunCancel.as_view()),
    path("models", apis.ModelList.as_view()),
    path("models/<str:version>", apis.ModelDetail.as_view()),
    path("models/<str:version>/promote", apis.PromoteModel.as_view(), name="promote-model"),
]
