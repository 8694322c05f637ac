"""Webhooks: what happened, told to a bank's own systems, signed as https://www.standardwebhooks.com describes.

A webhook follows from an event of the audit trail (``events``), and its deliveries are rows that are written in the
same transaction. The queue sends them, again and again with growing pauses, until the receiver answers with a 2xx.
"""
