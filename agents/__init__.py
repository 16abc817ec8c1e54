"""One file per kind of agent: what it answers, hears, and does on a timer. Start reading here.

`compute.py` and `network.py` run on every host; `conductor.py` and `images.py` on the controller;
`bundles.py` puts them into the processes that `nova0 up` starts.
"""
