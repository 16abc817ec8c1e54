"""One signature-only class per agent: what it answers and hears, time-out class, who may call.

Both wings import these; nothing here does anything.
"""
