"""Dual control: what one person asks for and another one approves. Knows no domain.

An app registers what it wants under dual control in its ``AppConfig.ready``::

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

Where somebody asks for it, its view calls ``services.request(action="watchlist.delete", parameters={…}, reason=…,
actor=…)`` instead of the service and answers 202 with the ``Approval``. ``execute`` runs in the transaction of the
second person's approval; what it raises is answered to them and leaves the request open. An action without
``execute`` waits, once approved, for the one who asked: its own service calls ``services.redeem`` first.
"""
