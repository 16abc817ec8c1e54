"""oslo.messaging with RabbitMQ, as the OpenStack services use it: executor of 64 threads; unencrypted."""

import logging
import os

import oslo_messaging
from oslo_config import cfg

STYLE = "threads"


def transport(place):
    logging.getLogger("oslo").setLevel(logging.CRITICAL)
    logging.getLogger("oslo_messaging").setLevel(logging.CRITICAL)
    cfg.CONF([], project="bench", default_config_files=[])
    return oslo_messaging.get_rpc_transport(cfg.CONF, url=f"rabbit://guest:guest@127.0.0.1:{place.broker_port}/")


def listen(place, functions, **target):
    def endpoint(function):
        return lambda self, context, value: function(value)

    served = type("Served", (), {name: endpoint(function) for name, function in functions.items()})()
    target = oslo_messaging.Target(**target)
    server = oslo_messaging.get_rpc_server(transport(place), target, [served], executor="threading")
    server.start()  # with 64 threads, its default
    return server


def serve(place, service, ready):
    functions = {name: getattr(service, name) for name in ("echo", "size", "cast", "count")}
    server = listen(place, functions, topic=place.name, server="host1")
    ready()
    server.wait()


class connect:
    def __init__(self, place, number=0):
        target = oslo_messaging.Target(topic=place.name, server="host1")
        self.client = oslo_messaging.get_rpc_client(transport(place), target, timeout=30)

    def call(self, method, value):
        return self.client.call({}, method, value=value)

    def cast(self, value):
        self.client.cast({}, "cast", value=value)


class publisher:
    def __init__(self, place):
        target = oslo_messaging.Target(topic=f"{place.name}.all", fanout=True)
        self.client = oslo_messaging.get_rpc_client(transport(place), target)

    def publish(self, value):
        self.client.cast({}, "event", value=value)


def subscribe(place, heard, number):
    listen(place, {"event": heard}, topic=f"{place.name}.all", server=f"host{os.getpid()}-{number}")
