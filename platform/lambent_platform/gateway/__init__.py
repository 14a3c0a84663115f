"""All HTTP: the AWS APIs, function URLs, health, metrics."""
