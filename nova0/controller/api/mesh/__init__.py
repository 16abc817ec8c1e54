"""The mesh by HTTP, under /mesh/v1, for administrators: call a method of an agent, see who is there."""

from nova0.controller.api.mesh import agents, calls

RESOURCES = [calls, agents]
