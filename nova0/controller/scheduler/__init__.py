"""Chooses a host for a request: filters, then weights, over host states held in memory. Touches no socket;
the store is read only to refresh those states. The claim itself is `conductor/claims.py`."""
