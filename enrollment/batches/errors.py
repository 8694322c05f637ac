"""Failures of batch enrollment that callers may see: of the request, of the job, of one of its customers."""

from voiceauth.platform.errors import Conflict, DomainError, NotFound


class BatchNotFound(NotFound):
    code = "batch_enrollment_not_found"
    message = "There is no such batch enrollment."


class ResultsPurged(DomainError):
    """Carries ``days``."""

    code = "batch_results_purged"
    status = 410
    message = "The results have been deleted: they are kept for a limited time after the end of a batch enrollment."


class ClientTokenReused(Conflict):
    code = "client_token_reused"
    message = "This client_token was used for a batch with other content. Use a new token for new content."


class LocationRefused(DomainError):
    """Absolute, a URL, or it leads out of the storage, also by a link."""

    code = "location_outside_storage"
    status = 422
    message = "The location is outside the storage of batches."


class LocationNotFound(DomainError):
    code = "location_not_found"
    status = 422
    message = "There is no file at the location."


class LocationUnreadable(DomainError):
    code = "location_unreadable"
    status = 422
    message = "The file at the location cannot be read."


class RecordingTooLarge(DomainError):
    code = "recording_too_large"
    status = 413
    message = "The recording is too large."


class ManifestUnreadable(DomainError):
    code = "manifest_unreadable"
    status = 422
    message = "The manifest is damaged, or neither JSON lines nor parquet."


class ManifestEmpty(DomainError):
    code = "manifest_empty"
    status = 422
    message = "The manifest holds no customer."


class ManifestChanged(Conflict):
    code = "manifest_changed"
    message = "The manifest has changed since the job started."


class InvalidLine(DomainError):
    code = "invalid_line"
    status = 422
    message = "The line of the manifest is not valid."


class DuplicateCustomer(Conflict):
    code = "duplicate_customer"
    message = "An earlier line of the manifest names the same customer."


class CustomerErased(Conflict):
    code = "customer_erased"
    message = "The customer was erased after the batch had been submitted."


class NewAudioInsufficient(Conflict):
    code = "new_audio_insufficient"
    message = "The new recordings hold too little speech to enroll. The earlier recordings stay."
