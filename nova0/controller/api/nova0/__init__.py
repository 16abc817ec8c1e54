"""What nova0 offers beside the field's APIs, under /nova0/v1."""

from nova0.controller.api.nova0 import schedule, tunnel

RESOURCES = [schedule, tunnel]
