"""Failures of batch enrollment that callers may see: of the request, of the job, of one of its customers."""

from voiceauth.platform.errors import Conflict, DomainError, NotFound


class BatchNotFound(NotFound):
    """No batch enrollment has this id."""

    code = "batch_enrollment_not_found"
    message = "There is no such batch enrollment."


class ResultsPurged(DomainError):
    """Carries ``days``."""

    code = "batch_results_purged"
    status = 410
    message = "The results have been deleted: they are kept for a limited time after the end of a batch enrollment."


class ClientTokenReused(Conflict):
    """A ``client_token`` stands for one content."""

    code = "client_token_reused"
    message = "This client_token was used for a batch with other content. Use a new token for new content."


class LocationRefused(DomainError):
    """Absolute, a URL, or it leads out of the storage, also by a link."""

    code = "location_outside_storage"
    status = 422
    message = "The location is outside the storage of batches."


class LocationNotFound(DomainError):
    """Carries ``location``."""

    code = "location_not_found"
    status = 422
    message = "There is no file at the location."


class LocationUnreadable(DomainError):
    """Carries ``location``: a file that the service has no permission to read, for example."""

    code = "location_unreadable"
    status = 422
    message = "The file at the location cannot be read."


class RecordingTooLarge(DomainError):
    """Carries ``location`` and ``limit_bytes``, which is the limit for uploads."""

    code = "recording_too_large"
    status = 413
    message = "The recording is too large."


class ManifestUnreadable(DomainError):
    """The format is recognized by the content, not by the name of the file."""

    code = "manifest_unreadable"
    status = 422
    message = "The manifest is damaged, or neither JSON lines nor parquet."


class ManifestEmpty(DomainError):
    """A batch without a customer would succeed and hide a mistake."""

    code = "manifest_empty"
    status = 422
    message = "The manifest holds no customer."


class ManifestChanged(Conflict):
    """A job that resumes must find the lines that it has counted."""

    code = "manifest_changed"
    message = "The manifest has changed since the job started."


class InvalidLine(DomainError):
    """The message names the fields, and says what is wrong with each."""

    code = "invalid_line"
    status = 422
    message = "The line of the manifest is not valid."


class DuplicateCustomer(Conflict):
    """Only the first line of a customer is carried out."""

    code = "duplicate_customer"
    message = "An earlier line of the manifest names the same customer."


class CustomerErased(Conflict):
    """An erasure is later than the batch, so the batch must not undo it."""

    code = "customer_erased"
    message = "The customer was erased after the batch had been submitted."


class NewAudioInsufficient(Conflict):
    """With ``OVERWRITE``, new recordings replace the earlier ones only where they suffice by themselves."""

    code = "new_audio_insufficient"
    message = "The new recordings hold too little speech to enroll. The earlier recordings stay."
