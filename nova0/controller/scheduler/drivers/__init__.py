"""The built-in policies, each under the name the field used; `scheduler_driver` chooses one."""
