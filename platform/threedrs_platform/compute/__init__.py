"""Where attempts of steps execute: on Ray, or in this process."""
