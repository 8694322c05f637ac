"""The one engine for long work: jobs that survive the worker that carries them out.

A room adds a kind of job in three steps:

1. Subclass :class:`~voiceauth.platform.jobs.models.Job` with the columns of its own.
2. Write the work, ``def carry_out(attempt: Attempt[Mine]) -> None``, which calls ``attempt.check()`` often.
3. Add a task that calls ``runner.run(Mine, UUID(job_id), carry_out)``, and name that task in ``Mine.task_name``.

``services.enqueue`` then starts a job, ``services.request_cancel`` stops it, and one periodic task,
``jobs.recover``, takes up whatever a worker or the queue has lost.
"""
