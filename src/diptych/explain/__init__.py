"""Why a model says so: what each part of a text did to the answer, how far that can be trusted, and what goes on inside."""
