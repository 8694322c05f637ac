"""Measures how soon the pages of the dashboard and the lists of the API answer in a full database."""
