"""One file per kind of step: binds a step of the plan to a component."""
