"""Paths of training runs and models."""

from django.urls import path

from voiceauth.retraining import apis, recalibration_apis

urlpatterns = [
    path("training-runs", apis.TrainingRunList.as_view(), name="training-runs"),
    path("training-runs/<uuid:run_id>", apis.TrainingRunDetail.as_view()),
    path("training-runs/<uuid:run_id>/cancel", apis.TrainingRunCancel.as_view()),
    path("models", apis.ModelList.as_view()),
    path("models/<str:version>", apis.ModelDetail.as_view()),
    path("models/<str:version>/promote", apis.PromoteModel.as_view(), name="promote-model"),
    path("models/<str:version>/recalibrations", recalibration_apis.RecalibrationList.as_view()),
    path("recalibrations/<uuid:recalibration_id>", recalibration_apis.RecalibrationDetail.as_view()),
    path("recalibrations/<uuid:recalibration_id>/put-into-force", recalibration_apis.RecalibrationForce.as_view()),
]
