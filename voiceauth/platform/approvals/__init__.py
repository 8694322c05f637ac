"""Two-person control: what one person requests and another one approves. Knows no domain.

An app registers its actions in ``AppConfig.ready``::

    def ready(self) -> None:
        from voiceauth.platform.approvals.registry import Action, register

        register(
            Action(
                name="watchlist.delete",
                label="Delete a watchlist",
                approvers=roles_with("watchlists:write"),
                execute=lambda approval, actor: services.delete_watchlist(**approval.parameters, actor=actor),
            )
        )

The view calls ``services.request(action="watchlist.delete", parameters={…}, reason=…, actor=…)`` instead of the
service, and answers 202 with the ``Approval``. ``execute`` runs in the transaction of the second person's approval. An
error that it raises is answered to the second person, and leaves the request open. An action without ``execute`` is
carried out by the requester once it is approved: its own service calls ``services.redeem`` first.
"""
