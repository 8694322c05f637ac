"""Erasing the files of a voice, as a job that is retried until nothing is left.

Deleting rows is one transaction, but files have none: a storage may be away, and the copies of a training run lie in a
folder that only the training worker may write. So whoever erases a voice deletes its rows and its key, and calls
``services.begin`` in the same transaction. The job (``job.carry_out``) runs where the files are, and its success is
the receipt. A room that copies recordings registers how it removes them (``copies.register``).
"""
